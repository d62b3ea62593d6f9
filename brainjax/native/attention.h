// Scaled dot-product attention, block by block of queries, whose scores stay in a core's own cache.
//
// Vaswani et al. 2017 (arXiv:1706.03762), equation 1. As Dao et al. 2022 (arXiv:2205.14135) do it, the scores are never
// kept: the backward pass computes them again from the logarithm of each softmax's sum. Queries, keys, values and results
// are [batch tokens heads width], read as they lie.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "lanes.h"
#include "product.h"
#include "scratch.h"

namespace attention {

using brainjax::kLanes;
using brainjax::Lanes;
using brainjax::Load;
using brainjax::Store;
using brainjax::WholeLanes;

constexpr int64_t kQueries = 64;  // of a block

struct Problem {
  int64_t batch, queries, keys, heads, width;
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(width)); }
  int64_t Step() const { return heads * width; }  // from one token to the next
  int64_t Row() const { return (keys + kLanes - 1) / kLanes * kLanes; }  // of scores
};

// e^x for x <= 0, to float32 rounding: 2^n times the series of a remainder within ln 2 / 2 of 0.
BRAINJAX_INLINE Lanes Exp(Lanes x) {
  x = x < -87.0f ? Lanes{} - 87.0f : x;
  const Lanes n = (x * 1.44269504f + 12582912.0f) - 12582912.0f;  // to the nearest whole number
  const Lanes r = (x - n * 0.693359375f) + n * 2.12194440e-4f;    // ln 2 in two parts
  Lanes sum = r * (1 / 5040.0f) + 1 / 720.0f;
  sum = sum * r + 1 / 120.0f;
  sum = sum * r + 1 / 24.0f;
  sum = sum * r + 1 / 6.0f;
  sum = sum * r + 0.5f;
  sum = sum * r + 1.0f;
  sum = sum * r + 1.0f;
  const WholeLanes power = (__builtin_convertvector(n, WholeLanes) + 127) << 23;
  return sum * reinterpret_cast<const Lanes&>(power);
}

BRAINJAX_INLINE float Sum(Lanes values) {
  float sum = 0.0f;
  for (int64_t i = 0; i < kLanes; ++i) sum += values[i];
  return sum;
}

// The softmax of `row`, whose end beyond `count` is free to use; returns the logarithm of its sum.
BRAINJAX_CLONES float Softmax(float* row, int64_t count, int64_t padded) {
  std::fill(row + count, row + padded, -std::numeric_limits<float>::max());
  Lanes most = Load(row);
  for (int64_t i = kLanes; i < padded; i += kLanes) {
    const Lanes next = Load(row + i);
    most = next > most ? next : most;
  }
  float largest = most[0];
  for (int64_t i = 1; i < kLanes; ++i) largest = std::max(largest, most[i]);
  Lanes sums{};
  for (int64_t i = 0; i < padded; i += kLanes) {
    const Lanes found = Exp(Load(row + i) - largest);
    Store(row + i, found);
    sums += found;
  }
  const float sum = Sum(sums), inverse = 1.0f / sum;
  for (int64_t i = 0; i < padded; i += kLanes) Store(row + i, Load(row + i) * inverse);
  return largest + std::log(sum);
}

// Scores to probabilities p, and the gradients g of those to the scores' own, p (g - sum of p g).
BRAINJAX_CLONES void SoftmaxGradient(float* scores, float* gradients, int64_t count, int64_t padded, float log_sum) {
  std::fill(scores + count, scores + padded, -std::numeric_limits<float>::max());
  std::fill(gradients + count, gradients + padded, 0.0f);
  Lanes sums{};
  for (int64_t i = 0; i < padded; i += kLanes) {
    const Lanes p = Exp(Load(scores + i) - log_sum);
    Store(scores + i, p);
    sums += p * Load(gradients + i);
  }
  const float sum = Sum(sums);
  for (int64_t i = 0; i < padded; i += kLanes) {
    Store(gradients + i, Load(scores + i) * (Load(gradients + i) - sum));
  }
}

// y = softmax(q k^T / sqrt(width)) v, and the logarithms of the softmaxes' sums [batch heads queries].
inline void Forward(const Problem& p, const float* q, const float* k, const float* v, float* y, float* log_sums) {
  const int64_t step = p.Step(), row = p.Row(), blocks = (p.queries + kQueries - 1) / kQueries;
  const int threads = omp_get_max_threads();
  Scratch scratch(threads * kQueries * row + 16);
  float* const all = scratch.Take(threads * kQueries * row);
  Products products;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t i = 0; i < p.batch * p.heads * blocks; ++i) {
    float* const scores = all + omp_get_thread_num() * kQueries * row;
    const int64_t head = i / blocks, first = i % blocks * kQueries, count = std::min(kQueries, p.queries - first);
    const int64_t of_keys = head / p.heads * p.keys * step + head % p.heads * p.width;
    const int64_t of_queries = (head / p.heads * p.queries + first) * step + head % p.heads * p.width;
    products.Multiply(count, p.keys, p.width, p.Scale(), {q + of_queries, step, 'N'}, {k + of_keys, step, 'T'},
                      0.0f, scores, row);
    for (int64_t j = 0; j < count; ++j) {
      log_sums[head * p.queries + first + j] = Softmax(scores + j * row, p.keys, row);
    }
    products.Multiply(count, p.width, p.keys, 1.0f, {scores, row, 'N'}, {v + of_keys, step, 'N'},
                      0.0f, y + of_queries, step);
  }
  products.Check();
}

// The gradients of q, k and v, of the result's gradient g and the sums that `Forward` has found.
inline void Backward(const Problem& p, const float* q, const float* k, const float* v, const float* log_sums,
                     const float* g, float* dq, float* dk, float* dv) {
  const int64_t step = p.Step(), row = p.Row();
  const int threads = omp_get_max_threads();
  Scratch scratch(2 * threads * kQueries * row + 16);
  float* const all = scratch.Take(2 * threads * kQueries * row);
  Products products;
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t head = 0; head < p.batch * p.heads; ++head) {
    float* const scores = all + 2 * omp_get_thread_num() * kQueries * row;
    float* const gradients = scores + kQueries * row;
    const int64_t of_keys = head / p.heads * p.keys * step + head % p.heads * p.width;
    for (int64_t first = 0; first < p.queries; first += kQueries) {
      const int64_t count = std::min(kQueries, p.queries - first);
      const int64_t here = (head / p.heads * p.queries + first) * step + head % p.heads * p.width;
      const float before = first ? 1.0f : 0.0f;
      products.Multiply(count, p.keys, p.width, p.Scale(), {q + here, step, 'N'}, {k + of_keys, step, 'T'},
                        0.0f, scores, row);
      products.Multiply(count, p.keys, p.width, 1.0f, {g + here, step, 'N'}, {v + of_keys, step, 'T'},
                        0.0f, gradients, row);
      for (int64_t j = 0; j < count; ++j) {
        const float log_sum = log_sums[head * p.queries + first + j];
        SoftmaxGradient(scores + j * row, gradients + j * row, p.keys, row, log_sum);
      }
      products.Multiply(p.keys, p.width, count, 1.0f, {scores, row, 'T'}, {g + here, step, 'N'},
                        before, dv + of_keys, step);
      products.Multiply(count, p.width, p.keys, p.Scale(), {gradients, row, 'N'}, {k + of_keys, step, 'N'},
                        0.0f, dq + here, step);
      products.Multiply(p.keys, p.width, count, p.Scale(), {gradients, row, 'T'}, {q + here, step, 'N'},
                        before, dk + of_keys, step);
    }
  }
  products.Check();
}

}  // namespace attention
