"""What a paper that uses a run's numbers has to cite, as BibTeX."""

from chestrobust import catalogue

_MADRY = ("madry2018", "Madry, Aleksander and Makelov, Aleksandar and Schmidt, Ludwig and Tsipras, Dimitris and "
          "Vladu, Adrian", "Towards Deep Learning Models Resistant to Adversarial Attacks",
          "International Conference on Learning Representations", 2018, "1706.06083")  # fmt: skip
_CROCE = ("croce2020", "Croce, Francesco and Hein, Matthias", "Reliable Evaluation of Adversarial Robustness with an "
          "Ensemble of Diverse Parameter-free Attacks", "International Conference on Machine Learning", 2020,
          "2003.01690")  # fmt: skip
_SQUARE = ("andriushchenko2020", "Andriushchenko, Maksym and Croce, Francesco and Flammarion, Nicolas and Hein, "
           "Matthias", "Square Attack: a Query-Efficient Black-Box Adversarial Attack via Random Search",
           "European Conference on Computer Vision", 2020, "1912.00049")  # fmt: skip
_CARLINI = ("carlini2019", "Carlini, Nicholas and Athalye, Anish and Papernot, Nicolas and Brendel, Wieland and "
            "Rauber, Jonas and Tsipras, Dimitris and Goodfellow, Ian and Madry, Aleksander and Kurakin, Alexey",
            "On Evaluating Adversarial Robustness", "arXiv preprint", 2019, "1902.06705")  # fmt: skip

_COHEN = ("cohen2019", "Cohen, Jeremy M. and Rosenfeld, Elan and Kolter, J. Zico", "Certified Adversarial Robustness "
          "via Randomized Smoothing", "International Conference on Machine Learning", 2019,
          "1902.02918")  # fmt: skip

# By how the names of attacks begin: key, authors, title, where, year, and the number at arXiv or None.
ATTACKS = {
    "fgsm": ("goodfellow2015", "Goodfellow, Ian J. and Shlens, Jonathon and Szegedy, Christian", "Explaining and "
             "Harnessing Adversarial Examples", "International Conference on Learning Representations", 2015,
             "1412.6572"),
    "pgd": _MADRY,
    "apgd": _CROCE,
    "label-margin": _MADRY,
    "square": _SQUARE,
    "transfer": ("papernot2016", "Papernot, Nicolas and McDaniel, Patrick and Goodfellow, Ian", "Transferability in "
                 "Machine Learning: from Phenomena to Black-Box Attacks using Adversarial Samples", "arXiv preprint",
                 2016, "1605.07277"),
    "ni-fgsm": ("lin2020", "Lin, Jiadong and Song, Chuanbiao and He, Kun and Wang, Liwei and Hopcroft, John E.",
                "Nesterov Accelerated Gradient and Scale Invariance for Adversarial Attacks", "International "
                "Conference on Learning Representations", 2020, "1908.06281"),
    "one-pixel": ("su2019", "Su, Jiawei and Vargas, Danilo Vasconcellos and Sakurai, Kouichi", "One Pixel Attack for "
                  "Fooling Deep Neural Networks", "IEEE Transactions on Evolutionary Computation", 2019, "1710.08864"),
    "universal": ("moosavi2017", "Moosavi-Dezfooli, Seyed-Mohsen and Fawzi, Alhussein and Fawzi, Omar and Frossard, "
                  "Pascal", "Universal adversarial perturbations", "IEEE Conference on Computer Vision and Pattern "
                  "Recognition", 2017, "1610.08401"),
    "corruption": ("disalvo2024", "Di Salvo, Francesco and Doerrich, Sebastian and Ledig, Christian", "MedMNIST-C: "
                   "Comprehensive benchmark and improved classifier robustness by simulating realistic image "
                   "corruptions", "arXiv preprint", 2024, "2406.17536"),
}  # fmt: skip
METHODS = {
    "online": _MADRY,
    "pgd": _MADRY,
    "fast": ("dejorge2022", "de Jorge, Pau and Bibi, Adel and Volpi, Riccardo and Sanyal, Amartya and Torr, Philip H. "
             "S. and Rogez, Gr{\\'e}gory and Dokania, Puneet K.", "Make Some Noise: Reliable and Efficient Single-Step "
             "Adversarial Training", "Advances in Neural Information Processing Systems", 2022, "2202.01181"),
    "free": ("shafahi2019", "Shafahi, Ali and Najibi, Mahyar and Ghiasi, Amin and Xu, Zheng and Dickerson, John and "
             "Studer, Christoph and Davis, Larry S. and Taylor, Gavin and Goldstein, Tom", "Adversarial Training for "
             "Free!", "Advances in Neural Information Processing Systems", 2019, "1904.12843"),
    "trades": ("zhang2019", "Zhang, Hongyang and Yu, Yaodong and Jiao, Jiantao and Xing, Eric P. and El Ghaoui, "
               "Laurent and Jordan, Michael I.", "Theoretically Principled Trade-off between Robustness and Accuracy",
               "International Conference on Machine Learning", 2019, "1901.08573"),
    "awp": ("wu2020", "Wu, Dongxian and Xia, Shu-Tao and Wang, Yisen", "Adversarial Weight Perturbation Helps Robust "
            "Generalization", "Advances in Neural Information Processing Systems", 2020, "2004.05884"),
    "certified": ("gowal2018", "Gowal, Sven and Dvijotham, Krishnamurthy and Stanforth, Robert and Bunel, Rudy and "
                  "Qin, Chongli and Uesato, Jonathan and Arandjelovic, Relja and Mann, Timothy and Kohli, Pushmeet",
                  "On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models",
                  "arXiv preprint", 2018, "1810.12715"),
    "static": ATTACKS["fgsm"],
}  # fmt: skip
_MEDMNIST = ("yang2023", "Yang, Jiancheng and Shi, Rui and Wei, Donglai and Liu, Zequan and Zhao, Lin and Ke, Bilian "
             "and Pfister, Hanspeter and Ni, Bingbing", "MedMNIST v2 - A large-scale lightweight benchmark for 2D and "
             "3D biomedical image classification", "Scientific Data", 2023, "2110.14795")  # fmt: skip
_NIH = ("wang2017", "Wang, Xiaosong and Peng, Yifan and Lu, Le and Lu, Zhiyong and Bagheri, Mohammadhadi and Summers, "
        "Ronald M.", "ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised "
        "Classification and Localization of Common Thorax Diseases", "IEEE Conference on Computer Vision and Pattern "
        "Recognition", 2017, "1705.02315")  # fmt: skip
_KERMANY = ("kermany2018", "Kermany, Daniel S. and Goldbaum, Michael and Cai, Wenjia and others", "Identifying Medical "
            "Diagnoses and Treatable Diseases by Image-Based Deep Learning", "Cell", 2018, None)  # fmt: skip
_COVID = ("cohen2020", "Cohen, Joseph Paul and Morrison, Paul and Dao, Lan and Roth, Karsten and Duong, Tim Q. and "
          "Ghassemi, Marzyeh", "COVID-19 Image Data Collection: Prospective Predictions Are the Future",
          "arXiv preprint", 2020, "2006.11988")  # fmt: skip
DATA = {"chestmnist": (_NIH,), "nih": (_NIH,), "pneumoniamnist": (_KERMANY,), "covid": (_COVID,)}


def cited(data, attacks, method=None, audited=False, smoothed=False):
    """The works to cite, each once.

    Args:
        data: Name of the data.
        attacks: Names of the attacks.
        method: Name of the adversarial training, or None.
        audited: Whether there was an audit, which follows two of them.
        smoothed: Whether randomized smoothing proved something.

    Returns:
        Tuples as in `ATTACKS`.
    """
    name = data.partition("_")[0]
    works = [_MEDMNIST] if name in catalogue.MEDMNIST else []
    works += DATA.get(name, ())
    for attack in attacks:
        # The longest beginning says most: `pgd-auc` is a PGD, `ni-fgsm` no FGSM.
        begins = [key for key in ATTACKS if attack.startswith(key)]
        works += [ATTACKS[key] for key in sorted(begins, key=len)[-1:]]
    works += [METHODS[method]] if method in METHODS else []
    works += [_COHEN] * smoothed
    works += [_CARLINI, _CROCE] if audited else []
    return list(dict.fromkeys(works))


def bibtex(works):
    """Works as BibTeX entries."""
    return "\n\n".join(map(_entry, works)) + "\n" if works else ""


def _entry(work):
    key, authors, title, where, year, number = work
    lines = [f"  author = {{{authors}}},", f"  title = {{{{{title}}}}},", f"  howpublished = {{{where}}},"]
    if number:
        lines += [f"  eprint = {{{number}}},", "  archiveprefix = {arXiv},"]
    return "\n".join([f"@misc{{{key},", *lines, f"  year = {{{year}}}", "}"])
