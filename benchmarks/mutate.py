"""Break the code on purpose and see a test fail: a test that can't fail proves nothing.

    python benchmarks/mutate.py
    python benchmarks/mutate.py training    those that tests in tests/training are to notice

Each breakage is made in a copy of the tree, where only the test that should notice it runs. Prints a Markdown table and
exits with 1 if a breakage goes unnoticed, or if the test fails without any.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "chestrobust"
FAILED = 1  # of pytest's exit codes; others say that nothing was tested

# What is broken, in which file of the package, by replacing what with what, and the test that notices.
BREAKAGES = (
    ("PGD walks down the loss", "attacks/gradient.py", "project(images + step_size", "project(images - step_size",
     "attacks/test_attacks.py::test_pgd_reaches_the_closed_form_optimum_of_a_linear_model"),
    ("pixels below 0 are not clipped", "attacks/norms.py", "tf.maximum(clean - epsilon, 0.0)", "clean - epsilon",
     "attacks/test_attacks.py::test_results_stay_in_the_ball_and_in_the_pixel_range"),
    ("the ball has no upper end", "attacks/norms.py", "tf.minimum(clean + epsilon, 1.0)", "1.0",
     "attacks/test_attacks.py::test_results_stay_in_the_ball_and_in_the_pixel_range"),
    ("the L2 projection stretches", "attacks/norms.py", "tf.minimum(1.0, tf.math", "tf.maximum(1.0, tf.math",
     "attacks/test_attacks.py::test_l2_results_stay_in_the_ball_and_in_the_pixel_range"),
    ("BatchNorm and dropout in training mode", "attacks/gradient.py",
     "model(images, training=False))\n    return losses",
     "model(images, training=True))\n    return losses",
     "attacks/test_attacks.py::test_the_model_is_not_changed_and_runs_in_inference_mode"),
    ("restarts keep the best start", "attacks/gradient.py",
     "candidate_loss > worst_loss", "candidate_loss < worst_loss",
     "attacks/test_attacks.py::test_restarts_keep_the_worst_start_of_each_image"),
    ("all images share one random start", "attacks/gradient.py",
     "stateless_fold_in(seed, index)", "stateless_fold_in(seed, 0)",
     "attacks/test_attacks.py::test_the_random_start_is_on_by_default_and_differs_between_images"),
    ("the seed is ignored", "attacks/gradient.py", "tf.constant((self.seed, restart))", "tf.constant((0, restart))",
     "attacks/test_attacks.py::test_the_same_seed_gives_the_same_bytes_and_another_seed_others"),
    ("APGD never halves its step", "attacks/autopgd.py", "step_size / 2", "step_size",
     "attacks/test_attacks.py::test_apgd_halves_its_steps_until_it_sits_on_a_narrow_peak"),
    ("APGD remembers its worst point", "attacks/autopgd.py",
     "value > best_value\n        best_value", "value < best_value\n        best_value",
     "attacks/test_attacks.py::test_apgd_returns_the_best_point_it_saw_not_the_last"),
    ("PGD's labels are shifted in training", "training/examples.py", "start, labels[late]",
     "start, labels[early]",
     "attacks/test_attacks.py::test_training_examples_keep_each_image_with_its_labels"),
    ("edges of augmented images are black", "training/augment.py", "if augmentation.edges", "if False",
     "training/test_augment.py::test_what_is_moved_in_is_black_or_repeats_the_edge"),
    ("AWP goes down the loss", "training/gradients.py", "weights += epsilon", "weights -= epsilon",
     "training/test_gradients.py::test_those_of_the_worst_weights_are_taken_a_step_up_the_loss_and_the_weights_stay"),
    ("AWP's gradients are those of the weights as they are", "training/gradients.py",
     "gradients = tape.gradient(higher, worst)", "pass",
     "training/test_gradients.py::test_those_of_the_worst_weights_are_taken_a_step_up_the_loss_and_the_weights_stay"),
    ("each replica looks for its own worst weights", "training/gradients.py",
     "gradient = _summed(gradient)", "pass", "test_devices.py::test_two_devices_find_the_same_but_for_rounding"),
    ("free training's images go down the loss", "training/examples.py",
     "gradient.moved(attacked, slopes", "gradient.moved(attacked, -slopes",
     "training/test_methods.py::test_free_training_is_that_of_a_loop_by_hand"),
    ("free training shows a batch the same images again", "training/loop.py",
     "made.moved(made.images, *slopes)", "made.images",
     "training/test_methods.py::test_free_training_is_that_of_a_loop_by_hand"),
    ("the learning rate counts batches, not the steps on each", "training/loop.py",
     "steps_per_epoch * recipe.replays", "steps_per_epoch",
     "training/test_methods.py::test_free_training_is_that_of_a_loop_by_hand"),
    ("the radius grows by batches, not by the steps on each", "training/methods.py",
     "options.batch_size) * replays(options)", "options.batch_size)",
     "training/test_methods.py::test_free_training_is_that_of_a_loop_by_hand"),
    ("replicas normalize by their own share", "training/loop.py", "devices.replicas() > 1", "False",
     "test_devices.py::test_two_devices_train_and_attack_as_one_does"),
    ("the twin's kernel isn't scaled", "models/twin.py",
     "self.kernel * tf.reshape(scale, self.channels)", "self.kernel",
     "models/test_twin.py::test_logits_and_input_gradients_are_those_of_the_model"),
    ("the twin's separable convolution isn't bound to its channels", "models/twin.py",
     "by_channel = _cast(tf.convert_to_tensor(layer.depthwise_kernel), low)",
     "by_channel = _cast(tf.ones_like(tf.convert_to_tensor(layer.depthwise_kernel)), low)",
     "models/test_twin.py::test_logits_and_input_gradients_are_those_of_the_model"),
    ("the twin's input gradient is mirrored", "models/twin.py", "rows - 1 - row :", "row :",
     "models/test_twin.py::test_logits_and_input_gradients_are_those_of_the_model"),
    ("the twin takes a subclass for the class", "models/twin.py",
     "type(layer) in RULES", "isinstance(layer, tuple(RULES))",
     "models/test_twin.py::test_what_is_not_known_runs_as_it_is"),
    ("Nesterov's gradient is that of the point itself", "attacks/gradient.py",
     "candidate + step_size * momentum * velocity if nesterov else candidate", "candidate",
     "attacks/test_attacks.py::test_nesterov_momentum_follows_its_formula"),
    ("an undefined AUC counts as 0.5", "evaluation/metrics.py", "values[~np.isnan(values)].mean()",
     "np.nan_to_num(values, nan=0.5).mean()",
     "evaluation/test_metrics.py::test_a_label_without_positives_or_negatives_is_named_and_left_out"),
    ("AUC of float32 sigmoids", "tasks.py", "            return logits\n",
     "            return self.probabilities(logits).astype(np.float32)\n",
     "evaluation/test_metrics.py::test_large_logits_keep_their_order"),
    ("accuracy counts 0.5 as positive", "evaluation/metrics.py", "scores > 0.5", "scores >= 0.5",
     "evaluation/test_metrics.py"),
    ("the bootstrap ignores ties", "evaluation/metrics.py",
     "negative_sums[:, self.below] + negative_sums[:, self.up_to]",
     "2 * negative_sums[:, self.below]", "evaluation/test_metrics.py"),
    ("patients are split by the bootstrap", "evaluation/metrics.py",
     "patients = range(count) if patients is None else patients",
     "patients = range(count)", "evaluation/test_metrics.py"),
    ("thresholds are read from the wrong end", "evaluation/metrics.py",
     "return cuts[::-1][np.argmax", "return cuts[np.argmax",
     "evaluation/test_metrics.py"),
    ("a difference is not taken on the same resamples", "evaluation/metrics.py",
     "macro_of(resampled) - macro_of(others_resampled)", "macro_of(resampled) - macro_of(others_resampled)[::-1]",
     "evaluation/test_metrics.py::test_paired_difference_is_b_minus_a_on_the_same_resamples"),
    ("a difference is the other's minus its own", "evaluation/measured.py",
     "for one in (self, other))\n            (values", "for one in (other, self))\n            (values",
     "evaluation/test_measured.py::test_differences_are_those_of_the_same_resamples"),
    ("sensitivity is that of all images", "evaluation/measured.py",
     '"sensitivity": self._shares(self.labels, self.reported)',
     '"sensitivity": self._shares(self.labels | True, self.reported)',
     "evaluation/test_measured.py::test_a_constant_shift_moves_sensitivity_and_specificity_and_no_auc"),
    ("a lost finding counts as an invented one", "evaluation/scoring.py",
     '"hidden": float(np.mean((clean & ~reported)',
     '"hidden": float(np.mean((~clean & reported)',
     "evaluation/test_measured.py::test_a_row_counts_images_whose_report_lost_or_gained_a_label"),
    ("a report is wrong only if all of it is", "evaluation/scoring.py", "(~clean & reported).any(axis=1)",
     "(~clean & reported).all(axis=1)",
     "evaluation/test_measured.py::test_a_row_counts_images_whose_report_lost_or_gained_a_label"),
    ("specificity of stored images is that of false alarms", "evaluation/scoring.py",
     "(~labels & ~reported).sum(axis=0)", "(~labels & reported).sum(axis=0)",
     "evaluation/test_measured.py::test_a_row_counts_images_whose_report_lost_or_gained_a_label"),
    ("an attacked row is held against itself", "evaluation/scoring.py",
     "self._worst([self.clean], per_label)", "self._worst(candidates, per_label)",
     "evaluation/test_measured.py::test_a_row_counts_images_whose_report_lost_or_gained_a_label"),
    ("images of a group count as independent", "evaluation/scoring.py",
     "patients=None if patients is None else patients[rows]", "patients=None",
     "evaluation/test_measured.py::test_groups_are_scored_by_the_patients_of_all"),
    ("groups are reported at a half", "evaluation/scoring.py", "reported=reported[rows]",
     "reported=logits[rows] > 0", "evaluation/test_measured.py::test_groups_are_scored_by_the_patients_of_all"),
    ("an evaluation in Python takes any word for a suite", "evaluation/memory.py",
     "settings = commandline.read(EvaluateConfig, settings)", "settings = dict(settings)",
     "evaluation/test_memory.py::test_options_of_an_evaluation_are_those_of_the_command_line"),
    ("a training in Python takes any word for a method", "training/hardening.py",
     'commandline.read(config.AdversarialConfig, options | {"epsilon": epsilon})', 'options | {"epsilon": epsilon}',
     "evaluation/test_memory.py::test_options_of_a_training_are_those_of_the_command_line"),
    ("images of one patient count as independent in an AUC's interval", "evaluation/intervals.py",
     "np.arange(len(labels)) if patients is None else np.asarray(patients)", "np.arange(len(labels))",
     "evaluation/test_intervals.py::test_copies_of_images_do_not_narrow_an_interval"),
    ("an interval's variance is half of it", "evaluation/intervals.py", "    return value * (1 - value) * spread",
     "    return 0.5 * value * (1 - value) * spread",
     "evaluation/test_intervals.py::test_an_auc_is_as_far_from_both_ends_as_its_variance_says"),
    ("p-values are not corrected for the number of labels", "evaluation/intervals.py",
     "np.arange(len(order), 0, -1)", "np.ones(len(order))",
     "evaluation/test_intervals.py::test_holm_multiplies_the_least_by_all_and_never_falls"),
    ("stored images are rounded out of the ball", "attacks/storage.py", "- before, -most, most)",
     "- before, -most - 1, most + 1)",
     "attacks/test_storage.py::test_stored_images_never_leave_the_ball_and_are_the_nearest"),
    ("images between grey levels are answered as they are", "evaluation/outcomes.py",
     "np.array_equal(rounded, adversarial)", "True",
     "evaluation/test_measured.py::test_images_that_are_stored_as_they_are_get_one_answer"),
    ("an image is lost only if all attacks fool it", "evaluation/outcomes.py", "np.all(right, axis=(0, 2))",
     "np.any(np.all(right, axis=2), axis=0)", "attacks/test_aim.py::test_an_image_is_lost_if_any_attack_fools_it"),
    ("the floor takes the best logit", "evaluation/outcomes.py", "logits.min(axis=0), logits.max(axis=0)",
     "logits.max(axis=0), logits.min(axis=0)",
     "evaluation/test_evaluate.py::test_joint_takes_whole_images_and_the_floor_takes_labels_one_by_one"),
    ("bounds forget the sign of a weight", "models/bounds.py", "tf.abs(kernel)", "kernel",
     "models/test_bounds.py::test_no_attack_on_any_label_leaves_the_bounds_of_a_random_network"),
    ("the upper bound lies below the middle", "models/bounds.py",
     "    spread = apply(radius, weights) + _slack(terms, size)\n    return Box(around - spread, around + spread)",
     "    spread = apply(radius, weights) + _slack(terms, size)\n    return Box(around - spread, around - spread)",
     "models/test_bounds.py::test_no_attack_on_any_label_leaves_the_bounds_of_a_random_network"),
    ("bounds don't allow for rounding", "models/bounds.py", "return 4 * gamma(terms + 4) * size + terms * TINY",
     "return 0 * size", "models/test_bounds.py::test_bounds_hold_in_exact_arithmetic_which_takes_rounding_outward"),
    ("a negative scale swaps no ends", "models/bounds.py",
     "Box(tf.minimum(*ends) - slack, tf.maximum(*ends) + slack)", "Box(ends[0] - slack, ends[1] + slack)",
     "models/test_bounds.py::test_bounds_hold_in_exact_arithmetic_which_takes_rounding_outward"),
    ("what is certified is the best case", "evaluation/certification.py", "outcomes.floor(task, labels,",
     "outcomes.floor(task, 1 - labels,",
     "evaluation/test_certification.py::test_a_present_label_is_worst_at_its_lowest_and_an_absent_one_at_its_highest"),
    ("classes that are taken apart are reported at their best", "evaluation/scoring.py",
     "reports.all(axis=0), reports.any(axis=0)", "reports.any(axis=0), reports.all(axis=0)",
     "evaluation/test_certification.py::test_reports_of_classes_are_as_bad_as_any_answer_within_the_bounds_makes_them"),
    ("an unsure report counts as right", "evaluation/smoothing.py",
     "self.reported, ~np.asarray(labels, bool))", "self.reported, np.asarray(labels, bool))",
     "evaluation/test_smoothing.py::test_shares_count_what_is_right_and_sure"),
    ("all images get the same noise", "attacks/corruptions.py",
     "default_rng((seed, int(index)))", "default_rng((seed, 0))",
     "attacks/test_corruptions.py::test_noise_depends_on_the_seed_and_the_number_of_an_image_not_on_its_batch"),
    ("pneumonia gets the strengths of the chest", "attacks/corruptions.py",
     "return row.pneumonia if", "return row.chest if",
     "attacks/test_corruptions.py::test_pneumonias_strengths_are_its_own"),
    ("the balanced error forgets the healthy", "evaluation/clinical.py",
     "(sensitivity + specificity) / 2", "sensitivity",
     "evaluation/test_clinical.py::test_the_balanced_error_is_that_of_scikit_learn"),
    ("the last exposure counts as the worst", "evaluation/clinical.py",
     "subject.row(record, [outcome.logits for outcome in found])", "subject.row(record, [found[-1].logits])",
     "evaluation/test_clinical.py::test_the_worst_exposure_is_never_weaker_than_any_single_one"),
    ("attacks on whole grey levels leave the ball", "attacks/norms.py", "tf.floor(255 * epsilon + 1e-4)",
     "tf.math.ceil(255 * epsilon)",
     "attacks/test_storage.py::test_of_a_linear_model_the_stored_attack_is_the_integer_optimum"),
    ("a smoothed radius is that of the likeliest share", "evaluation/smoothing.py", "beta.ppf(alpha / 2,",
     "beta.ppf(0.5,", "evaluation/test_smoothing.py::test_no_radius_is_longer_than_the_way_to_another_report"),
    ("falling steps rise", "attacks/autopgd.py", "np.geomspace(1, LAST, steps)", "np.geomspace(LAST, 1, steps)",
     "attacks/test_attacks.py::test_falling_steps_end_on_a_narrow_peak_and_keep_the_best_point"),
    ("falling steps keep their last point", "attacks/autopgd.py", "chosen(promised > best_value, ahead, best)", "ahead",
     "attacks/test_attacks.py::test_falling_steps_end_on_a_narrow_peak_and_keep_the_best_point"),
    ("a universal change for one finding is after another", "losses.py", "alone = slice(label, label + 1)",
     "alone = slice(0, 1)",
     "attacks/test_universal.py::test_of_a_finding_it_is_the_sign_of_its_own_weights"),
    ("the error over AlexNet's is of clean images", "evaluation/clinical.py", '"be": error / published',
     '"be": clean / published',
     "evaluation/test_clinical.py::test_errors_are_divided_by_those_of_alexnet"),
    ("a universal change goes down its loss", "attacks/universal.py", "change + length *", "change - length *",
     "attacks/test_universal.py::test_of_a_linear_model_the_best_change_is_the_sign_of_its_weights"),
    ("a universal change is between grey levels", "attacks/universal.py", "np.round(255 * change)", "255 * change",
     "attacks/test_universal.py::test_a_change_is_of_whole_grey_levels_inside_the_ball"),
    ("certified training sees the best case", "training/examples.py", "tf.where(labels > 0, low, high)",
     "tf.where(labels > 0, high, low)",
     "training/test_certified.py::test_the_loss_is_of_clean_answers_and_of_the_worst_in_the_ball"),
    ("a certificate above an attack passes the audit", "evaluation/published.py", "over += [ours - theirs",
     "over += [theirs - ours", "evaluation/test_audit.py::test_a_certificate_that_something_lies_below_is_none"),
    ("a handful of images passes the audit", "evaluation/checks.py", "None if count >= least", "None if count >= 0",
     "evaluation/test_audit.py::test_few_images_prove_nothing"),
    ("a joint score above a row passes the audit", "evaluation/published.py", 'lowest - row["macro_auc"]',
     '0 * row["macro_auc"]', "evaluation/test_audit.py::test_rows_that_contradict_each_other_are_caught"),
    ("a finding of the audit is never a failure", "evaluation/lines.py", "severity == NOTE else FAILED",
     "severity else FAILED", "evaluation/test_audit.py::test_rows_that_contradict_each_other_are_caught"),
    ("a model is compared with itself", "evaluation/comparison.py", "self.first.scores[title])", "self.scores[title])",
     "evaluation/test_comparison.py::test_differences_are_those_of_the_scores_on_the_same_resamples"),
    ("an evaluation of other data counts as the run's", "reporting/dossier.py",
     'if found["data"].get("sha256") == mine', "if mine",
     "reporting/test_page.py::test_an_evaluation_of_other_test_images_counts_and_says_so"),
    ("a verdict calls any radius the run's own", "reporting/verdict.py", 'if epsilon == results.get("own_epsilon")',
     "if epsilon", "reporting/test_verdict.py::test_of_several_radii_the_verdict_says_which_one_it_is_of"),
    ("a fold is tested on what it was trained on", "runs/saved.py", 'startswith("fold ")', 'startswith("no ")',
     "evaluation/test_comparison.py::test_what_cannot_be_compared_is_one_line_and_nothing_is_attacked"),
    ("a patient is in two splits", "data/sources/splitting.py", "return part[group]", "return np.roll(part[group], 1)",
     "data/test_folders.py::test_no_patient_is_in_two_splits"),
    ("files that change go unnoticed", "data/sources/decoded.py", "(name, stat.st_size, stat.st_mtime_ns)", "(name,)",
     "data/test_folders.py::test_the_second_start_decodes_nothing_until_size_list_or_files_change"),
    ("labels of other data aren't matched", "models/opening.py", "matching.columns(names, splits.label_names)",
     "list(range(len(splits.label_names)))",
     "evaluation/test_external.py::test_a_model_answers_for_the_shared_labels_with_its_own_logits"),
    ("augmentation forgets which image it has", "training/augment.py", "stateless_fold_in(stream, index)",
     "stateless_fold_in(stream, 0)",
     "training/test_augment.py::test_an_image_changes_in_the_same_way_in_any_batch_and_otherwise_in_another_epoch_or_seed"),
    ("metadata can be attacked", "models/networks.py",
     "keras.ops.round(metadata.STEPS * known) / metadata.STEPS", "known * 1.0",
     "data/test_metadata.py::test_the_model_reads_it_in_quarters_and_without_a_gradient"),
    ("the verdict takes the mildest attack", "reporting/verdict.py", "return min(enumerate(rows)",
     "return max(enumerate(rows)", "reporting/test_verdict.py::test_the_verdict_is_one_sentence"),
    ("of equal scores the weaker attack is named", "reporting/verdict.py", "not known.gradient, -number",
     "not known.gradient, number", "reporting/test_verdict.py::test_of_equal_scores_the_stronger_attack_is_named"),
    ("differences are those of a file that has changed", "reporting/dossier.py", 'shown.get(model["sha256"]) for',
     'list(shown.values())[told["models"].index(model)] for',
     "reporting/test_page.py::test_files_in_one_folder_are_compared_as_runs_are"),
    ("the verdict takes another image for each label", "reporting/verdict.py",
     'PER_LABEL = ("label-margin", "floor", "certified")', 'PER_LABEL = ("certified",)',
     "reporting/test_verdict.py::test_the_joint_score_counts_as_the_worst_and_the_floor_does_not"),
    ("what failed counts as passed", "reporting/verdict.py", "Trust: {count['passed']} of", "Trust: {ran} of",
     "reporting/test_verdict.py::test_trust_counts_what_ran_and_names_what_failed"),
    ("the page gives the baseline's scores to both", "reporting/sections.py",
     "return [verdict.worst(one, self.radius) for one in self.results]",
     "return [verdict.worst(self.results[0], self.radius) for one in self.results]",
     "reporting/test_page.py::test_baseline_and_robust_stand_side_by_side_with_intervals_and_verdicts"),
    ("models on other images are compared", "reporting/sections.py", "if len(images) > 1 or", "if",
     "reporting/test_page.py::test_runs_on_other_images_are_called_not_alike"),
    ("an item without its field is met", "reporting/checklists.py",
     "text = None if any(value in (None, [], {}, \"\") for value in values) else", "text =",
     "reporting/test_paper.py::test_an_item_whose_field_is_missing_is_not_met"),
    ("images of the gallery leave the ball", "evaluation/gallery.py",
     "storage.stored(found, images, attack.epsilon)", "storage.stored(found, images, attack.epsilon) + 1",
     "evaluation/test_gallery.py::test_images_are_inside_the_ball_and_their_answers_are_the_models"),
    ("who is on the picture needs no finding that all models name", "evaluation/patients.py",
     "named &= task.predicted(logits, thresholds[name])", "pass",
     "evaluation/test_picture.py::test_the_same_finding_must_be_named_by_every_model"),
    ("the picture attacks every model with the first one's images", "evaluation/picture.py",
     "attack(model, image,", "attack(next(iter(models.values())), image,",
     "evaluation/test_picture.py::test_each_model_is_attacked_for_itself"),
    ("missed findings are counted among all images", "reporting/graphs.py",
     "matrices[:, row].sum(axis=1)", "matrices.sum(axis=(1, 2))",
     "reporting/test_figures.py::test_bars_of_findings_are_shares_of_those_that_are_there_or_not"),
    ("the card gives average precision for AUC", "reporting/card.py", '("Macro ROC AUC", "macro_auc")',
     '("Macro ROC AUC", "macro_ap")',
     "reporting/test_card.py::test_the_front_matter_has_the_numbers_of_the_results"),
    ("explain.py attacks the first model for both", "explaining/attribution_views.py",
     "study.attacked(np.array([index]), model)", "study.attacked(np.array([index]))",
     "explaining/test_explain.py::test_each_model_is_attacked_for_itself_and_has_a_scale_of_its_own"),
    ("reliability bins hold sums", "evaluation/calibration.py",
     "(np.bincount(index, values, bins) / counts for", "(np.bincount(index, values, bins) for",
     "evaluation/test_metrics.py::test_reliability_in_closed_form"),
)  # fmt: skip


def main():
    """Try every breakage; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="?", default="", help="what the names of the tests begin with (default: all)")
    wanted = parser.parse_args().tests
    breakages, unnoticed = [one for one in BREAKAGES if one[-1].startswith(wanted)], 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for name in (PACKAGE, "tests", "benchmarks"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in (*ROOT.glob("*.py"), *ROOT.glob("*.toml"), *ROOT.glob("*.txt")):
            shutil.copy(path, copy)
        if run_tests(copy, *sorted({breakage[-1] for breakage in breakages})) != 0:
            sys.exit("a test fails without any breakage")
        print("| Breakage | File | Noticed by |", "| --- | --- | --- |", sep="\n", flush=True)
        for what, name, old, new, test in breakages:
            file = copy / PACKAGE / name
            whole = file.read_text()
            if whole.count(old) != 1:
                sys.exit(f"{name}: expected {old!r} once. Received it {whole.count(old)} times. Update this script.")
            file.write_text(whole.replace(old, new))
            noticed = run_tests(copy, test) == FAILED
            file.write_text(whole)
            unnoticed += not noticed
            print(f"| {what} | {name} | {test if noticed else 'NOTHING'} |", flush=True)
    return 1 if unnoticed else 0


def run_tests(tree, *tests):
    """pytest's exit code for some tests of a tree; what it says goes to standard error."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not peers", "-p", "no:cacheprovider"]
    # Compiled files are trusted by their time in whole seconds, which two breakages can share.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command += [f"tests/{test}" for test in tests]
    return subprocess.run(command, cwd=tree, stdout=sys.stderr, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
