// The transforms of Winograd's F(4 x 4, 3 x 3), and how tiles of channels-last images are read and written by them.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "lanes.h"

namespace winograd {

using brainjax::kLanes;
using brainjax::Lanes;
using brainjax::Load;
using brainjax::Store;
constexpr int64_t kTile = 4, kWindow = 6, kCoefficients = kWindow * kWindow;

// The transforms along one axis; each name is the matrix of the paper, T for transposed.
struct BT {  // inputs to coefficients
  static constexpr int64_t in = 6, out = 6;
  static BRAINJAX_INLINE void Apply(const Lanes* d, Lanes* v) {
    const Lanes even = d[4] - d[2], odd = d[3] - d[1];
    v[0] = d[0] - 1.5f * d[1] - 2.0f * d[2] + 1.5f * d[3] + d[4];
    v[1] = 0.5f * d[2] + 2.5f * d[3] + d[4] - d[1];
    v[2] = d[1] - 2.5f * d[2] + 0.5f * d[3] + d[4];
    v[3] = even + 2.0f * odd;
    v[4] = even - 0.5f * odd;
    v[5] = d[1] - 1.5f * d[2] - 2.0f * d[3] + 1.5f * d[4] + d[5];
  }
};
struct AT {  // coefficients to outputs
  static constexpr int64_t in = 6, out = 4;
  static BRAINJAX_INLINE void Apply(const Lanes* m, Lanes* y) {
    const Lanes sum = m[1] + m[2], difference = m[1] - m[2];
    y[0] = m[0] + sum + m[3] + m[4];
    y[1] = difference + 0.5f * m[3] - 2.0f * m[4];
    y[2] = sum + 0.25f * m[3] + 4.0f * m[4];
    y[3] = difference + 0.125f * m[3] - 8.0f * m[4] + m[5];
  }
};
struct A {  // gradients of outputs to coefficients
  static constexpr int64_t in = 4, out = 6;
  static BRAINJAX_INLINE void Apply(const Lanes* y, Lanes* w) {
    const Lanes even = y[0] + y[2], odd = y[1] + y[3];
    w[0] = y[0];
    w[1] = even + odd;
    w[2] = even - odd;
    w[3] = y[0] + 0.5f * y[1] + 0.25f * y[2] + 0.125f * y[3];
    w[4] = y[0] - 2.0f * y[1] + 4.0f * y[2] - 8.0f * y[3];
    w[5] = y[3];
  }
};
struct G {  // taps to coefficients
  static constexpr int64_t in = 3, out = 6;
  static BRAINJAX_INLINE void Apply(const Lanes* k, Lanes* u) {
    const Lanes ends = (k[0] + k[2]) * (1 / 3.0f), middle = k[1] * (1 / 3.0f);
    u[0] = k[0];
    u[1] = ends + middle;
    u[2] = middle - ends;
    u[3] = (k[0] * 4.0f + k[1] * 2.0f + k[2]) * (-4 / 15.0f);
    u[4] = (k[0] - k[1] * 2.0f + k[2] * 4.0f) * (1 / 15.0f);
    u[5] = k[2];
  }
};
struct GT {  // coefficients to gradients of taps
  static constexpr int64_t in = 6, out = 3;
  static BRAINJAX_INLINE void Apply(const Lanes* u, Lanes* k) {
    const Lanes sum = (u[1] + u[2]) * (1 / 3.0f), difference = (u[1] - u[2]) * (1 / 3.0f);
    k[0] = u[0] + difference - u[3] * (16 / 15.0f) + u[4] * (1 / 15.0f);
    k[1] = sum - u[3] * (8 / 15.0f) - u[4] * (2 / 15.0f);
    k[2] = difference - u[3] * (4 / 15.0f) + u[4] * (4 / 15.0f) + u[5];
  }
};

// Transforms a square of values along both axes, for sixteen channels. Steps are in floats.
template <class T>
BRAINJAX_INLINE void Both(const float* from, int64_t row, int64_t column, float* to, int64_t to_row, int64_t to_column) {
  Lanes half[T::out][T::in];
  for (int j = 0; j < T::in; ++j) {
    Lanes values[T::in], found[T::out];
    for (int i = 0; i < T::in; ++i) values[i] = Load(from + i * row + j * column);
    T::Apply(values, found);
    for (int i = 0; i < T::out; ++i) half[i][j] = found[i];
  }
  for (int i = 0; i < T::out; ++i) {
    Lanes found[T::out];
    T::Apply(half[i], found);
    for (int j = 0; j < T::out; ++j) Store(to + i * to_row + j * to_column, found[j]);
  }
}

// Slices of images, [slices height width channels].
struct Slices {
  int64_t height, width, channels;
  int64_t Size() const { return height * width * channels; }
};

// Coefficients [kCoefficients rows channels]: the first of a row, and the step from one to the next.
struct Coefficients {
  float* data;
  int64_t rows, channels;
  float* Row(int64_t row) const { return data + row * channels; }
  float* Matrix(int64_t index) const { return data + index * rows * channels; }
};

// Turns the square of T::in that begins at (y, x) of one slice, 0 beyond it, into one row of coefficients.
template <class T>
BRAINJAX_CLONES void Read(const float* slice, Slices shape, int64_t y, int64_t x, Coefficients to, int64_t row,
                          float* spare) {
  constexpr int64_t n = T::in;
  const int64_t channels = shape.channels;
  const float* from = slice + (y * shape.width + x) * channels;
  int64_t step = shape.width * channels;
  if (y < 0 || x < 0 || y + n > shape.height || x + n > shape.width) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        float* to_pixel = spare + (i * n + j) * channels;
        const bool inside = y + i >= 0 && x + j >= 0 && y + i < shape.height && x + j < shape.width;
        if (inside) {
          std::memcpy(to_pixel, from + i * step + j * channels, channels * sizeof(float));
        } else {
          std::memset(to_pixel, 0, channels * sizeof(float));
        }
      }
    }
    from = spare;
    step = n * channels;
  }
  const int64_t next = to.rows * channels;
  for (int64_t c = 0; c < channels; c += kLanes) {
    Both<T>(from + c, step, channels, to.Row(row) + c, kWindow * next, next);
  }
}

// Turns a row of coefficients into the tile at (y, x) of one slice, as much of it as there is.
BRAINJAX_CLONES void Write(Coefficients from, int64_t row, float* slice, Slices shape, int64_t y, int64_t x, float* spare) {
  const int64_t channels = shape.channels, next = from.rows * channels;
  const int64_t high = std::min(kTile, shape.height - y), wide = std::min(kTile, shape.width - x);
  float* to = slice + (y * shape.width + x) * channels;
  const bool whole = high == kTile && wide == kTile;
  float* first = whole ? to : spare;
  const int64_t step = (whole ? shape.width : kTile) * channels;
  for (int64_t c = 0; c < channels; c += kLanes) {
    Both<AT>(from.Row(row) + c, kWindow * next, next, first + c, step, channels);
  }
  if (whole) return;
  for (int64_t i = 0; i < high; ++i) {
    std::memcpy(to + i * shape.width * channels, spare + i * step, wide * channels * sizeof(float));
  }
}

// Sixteen elements of a kernel [3 3 C*F] to coefficients and of their gradient back.
BRAINJAX_CLONES void ReadTaps(const float* taps, int64_t size, bool flipped, float* to) {
  const int64_t sign = flipped ? -1 : 1;
  Both<G>(flipped ? taps + 8 * size : taps, sign * 3 * size, sign * size, to, kWindow * size, size);
}
BRAINJAX_CLONES void WriteTaps(const float* from, int64_t size, float* taps) {
  Both<GT>(from, kWindow * size, size, taps, 3 * size, size);
}

BRAINJAX_CLONES void Add(const float* more, int64_t size, float* to) {
  for (int64_t i = 0; i < kCoefficients; ++i) Store(to + i * size, Load(to + i * size) + Load(more + i * size));
}

}  // namespace winograd
