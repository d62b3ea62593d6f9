// A matrix product by oneDNN, of row-major matrices whose rows lie `step` apart.

#pragma once

#include <cstdint>
#include <stdexcept>

#include "oneapi/dnnl/dnnl.h"

struct Matrix {
  const float* data;
  int64_t step;
  char as;  // 'N' as it is, 'T' transposed
};

// Calls from several threads at once, and remembers for the end whether one has failed: no exception leaves a thread.
class Products {
 public:
  // to = scale a b + before to, of [rows inner] by [inner columns].
  void Multiply(int64_t rows, int64_t columns, int64_t inner, float scale, Matrix a, Matrix b, float before, float* to,
                int64_t step) {
    const dnnl_status_t status = dnnl_sgemm(a.as, b.as, rows, columns, inner, scale, a.data, a.step, b.data, b.step, before,
                                            to, step);
    if (status != dnnl_success) failed_ = true;
  }
  void Check() const {
    if (failed_) throw std::runtime_error("oneDNN refuses a matrix product");
  }

 private:
  bool failed_ = false;
};
