// `attention.h` as handlers of XLA's foreign function interface: the attention, and its three gradients.

#include <exception>
#include <initializer_list>
#include <string>

#include "xla/ffi/api/ffi.h"

// As for `winograd.h`: with another compiler these handlers are not there, and attention is XLA's.
#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__)
#include "attention.h"

namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32, 4>;
using Sums = ffi::Buffer<ffi::F32, 3>;

namespace {

// Queries like `q`, keys and values like `k`: [batch tokens heads width], the same but for the tokens.
ffi::Error Check(const Array& q, const Array& k, std::initializer_list<const Array*> like_q,
                 std::initializer_list<const Array*> like_k, const Sums& sums, attention::Problem* problem) {
  const auto a = q.dimensions(), b = k.dimensions(), s = sums.dimensions();
  bool fits = a[0] == b[0] && a[2] == b[2] && a[3] == b[3] && s[0] == a[0] && s[1] == a[2] && s[2] == a[1];
  for (const Array* array : like_q) fits = fits && array->dimensions() == a;
  for (const Array* array : like_k) fits = fits && array->dimensions() == b;
  if (!fits || !q.element_count() || !k.element_count()) {
    return ffi::Error::InvalidArgument("attention: arrays [batch tokens heads width] of one size are needed");
  }
  *problem = {a[0], a[1], b[1], a[2], a[3]};
  return ffi::Error::Success();
}

template <class Work>
ffi::Error Try(Work work) {
  try {
    work();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("attention: ") + error.what());
  }
  return ffi::Error::Success();
}

ffi::Error Attend(Array q, Array k, Array v, ffi::Result<Array> y, ffi::Result<Sums> sums) {
  attention::Problem problem;
  const ffi::Error wrong = Check(q, k, {&*y}, {&v}, *sums, &problem);
  if (wrong.failure()) return wrong;
  return Try([&] {
    attention::Forward(problem, q.typed_data(), k.typed_data(), v.typed_data(), y->typed_data(), sums->typed_data());
  });
}

ffi::Error AttendGradient(Array q, Array k, Array v, Sums sums, Array g, ffi::Result<Array> dq,
                          ffi::Result<Array> dk, ffi::Result<Array> dv) {
  attention::Problem problem;
  const ffi::Error wrong = Check(q, k, {&g, &*dq}, {&v, &*dk, &*dv}, sums, &problem);
  if (wrong.failure()) return wrong;
  return Try([&] {
    attention::Backward(problem, q.typed_data(), k.typed_data(), v.typed_data(), sums.typed_data(), g.typed_data(),
                        dq->typed_data(), dk->typed_data(), dv->typed_data());
  });
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(brainjax_attention, Attend,
                              ffi::Ffi::Bind().Arg<Array>().Arg<Array>().Arg<Array>().Ret<Array>().Ret<Sums>());
XLA_FFI_DEFINE_HANDLER_SYMBOL(brainjax_attention_gradient, AttendGradient,
                              ffi::Ffi::Bind()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Sums>()
                                  .Arg<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>());
#endif
