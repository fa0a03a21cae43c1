"use strict";

// What a small model computes, its gradient by the image, and the attacks that follow it; nothing here knows of a page.
// Images and maps are rows of pixels of channels, as in Keras; `models/transcript.py` writes what is read.

const LAYERS = { convolution, dense, relu, pool, average };

function readNetwork(stored) {
  let shape = stored.input;
  const layers = stored.layers.map((layer) => {
    const ready = LAYERS[layer.kind](layer, shape);
    shape = ready.shape;
    return ready;
  });
  return { shape: stored.input, layers };
}

function logitsOf(network, image) {
  return network.layers.reduce((values, layer) => layer.forward(values), image);
}

// The gradient by the image of a loss, whose gradient by the logits is given as a function of them.
function gradientOf(network, image, ofLoss) {
  const before = [];
  const logits = network.layers.reduce((values, layer) => {
    before.push(values);
    return layer.forward(values);
  }, image);
  return network.layers.reduceRight((upstream, layer) => layer.backward(upstream, before.pop()), ofLoss(logits));
}

const sigmoid = (logit) => 1 / (1 + Math.exp(-logit));

// Binary cross-entropy of one finding. As `sigmoid(-z)`, since `1 - sigmoid(z)` is 0 for a sure model.
function crossEntropy(finding, present) {
  return (logits) => logits.map((logit, label) => label !== finding ? 0 : present ? -sigmoid(-logit) : sigmoid(logit));
}

// PGD from the image itself; with a single step it is FGSM. Gives the image after each step.
function* attackSteps(network, clean, ofLoss, radius, steps) {
  const length = 2.5 * radius / steps;  // together 2.5 times the radius, so that any point of the ball is in reach
  let image = Float64Array.from(clean);
  for (let step = 0; step < steps; step++) {
    const gradient = gradientOf(network, image, ofLoss);
    image = image.map((value, at) => {
      const moved = value + length * Math.sign(gradient[at]);
      return Math.min(Math.max(moved, clean[at] - radius, 0), clean[at] + radius, 1);
    });
    yield image;
  }
}

function floats(text) {
  return new Float32Array(Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer);
}

// How many windows there are along a side, and how much padding is before the first.
function windowsAlong(length, size, stride, same) {
  const count = same ? Math.ceil(length / stride) : Math.floor((length - size) / stride) + 1;
  return [count, same ? Math.max((count - 1) * stride + size - length, 0) >> 1 : 0];
}

// Calls `visit(window, place in it, pixel)` for each pixel of each window.
function windows([height, width], [rows, columns], [down, across], same) {
  const [high, above] = windowsAlong(height, rows, down, same);
  const [wide, left] = windowsAlong(width, columns, across, same);
  return [high, wide, (visit) => {
    for (let window = 0; window < high * wide; window++) {
      const top = Math.floor(window / wide) * down - above, start = (window % wide) * across - left;
      for (let row = Math.max(0, -top); row < rows && top + row < height; row++) {
        for (let column = Math.max(0, -start); column < columns && start + column < width; column++) {
          visit(window, row * columns + column, (top + row) * width + start + column);
        }
      }
    }
  }];
}

function convolution(layer, shape) {
  const channels = shape[2], filters = layer.shape[3], kernel = floats(layer.kernel), bias = floats(layer.bias);
  const [high, wide, each] = windows(shape, layer.shape, layer.stride, layer.same);
  return {
    shape: [high, wide, filters],
    forward(values) {
      const output = new Float64Array(high * wide * filters);
      for (let at = 0; at < output.length; at++) output[at] = bias[at % filters];
      each((window, place, pixel) => {
        const to = window * filters;
        for (let channel = 0; channel < channels; channel++) {
          const value = values[pixel * channels + channel], from = (place * channels + channel) * filters;
          if (value === 0) continue;  // after a ReLU, half of them
          for (let filter = 0; filter < filters; filter++) output[to + filter] += value * kernel[from + filter];
        }
      });
      return output;
    },
    backward(upstream) {
      const gradient = new Float64Array(shape[0] * shape[1] * channels);
      each((window, place, pixel) => {
        const to = window * filters;
        for (let channel = 0; channel < channels; channel++) {
          const from = (place * channels + channel) * filters;
          let sum = 0;
          for (let filter = 0; filter < filters; filter++) sum += upstream[to + filter] * kernel[from + filter];
          gradient[pixel * channels + channel] += sum;
        }
      });
      return gradient;
    },
  };
}

// A dense layer is a convolution whose only window is all there is.
function dense(layer, shape) {
  const [inputs, units] = layer.shape;
  return convolution({ ...layer, shape: [1, 1, inputs, units], stride: [1, 1], same: false }, [1, 1, inputs]);
}

function relu(_, shape) {
  return {
    shape,
    forward: (values) => values.map((value) => Math.max(value, 0)),
    backward: (upstream, values) => upstream.map((value, at) => values[at] > 0 ? value : 0),
  };
}

function pool(layer, shape) {
  const channels = shape[2], [high, wide, each] = windows(shape, layer.size, layer.stride, false);
  // Which value is the largest of its window, for each that is returned.
  const largest = (values) => {
    const found = new Int32Array(high * wide * channels).fill(-1);
    each((window, _, pixel) => {
      for (let channel = 0; channel < channels; channel++) {
        const to = window * channels + channel, from = pixel * channels + channel;
        if (found[to] < 0 || values[from] > values[found[to]]) found[to] = from;
      }
    });
    return found;
  };
  return {
    shape: [high, wide, channels],
    forward: (values) => Float64Array.from(largest(values), (from) => values[from]),
    backward(upstream, values) {
      const gradient = new Float64Array(values.length);
      largest(values).forEach((from, at) => { gradient[from] += upstream[at]; });
      return gradient;
    },
  };
}

function average(_, [height, width, channels]) {
  const pixels = height * width;
  return {
    shape: [1, 1, channels],
    forward(values) {
      const output = new Float64Array(channels);
      values.forEach((value, at) => { output[at % channels] += value / pixels; });
      return output;
    },
    backward: (upstream, values) => values.map((_, at) => upstream[at % channels] / pixels),
  };
}
