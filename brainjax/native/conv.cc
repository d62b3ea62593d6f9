// Convolutions of channels-last arrays by oneDNN, as handlers of XLA's foreign function interface.
//
// Three handlers, each one primitive of oneDNN: the convolution, the gradient of its input and that of its kernel. The
// images stay in the layout that JAX gives them, the small kernels are laid out as oneDNN is quickest with. What oneDNN
// refuses comes back to Python as an error, never as an abort.

#include <cstdint>
#include <exception>
#include <string>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using dnnl::memory;
using Array = ffi::AnyBuffer;
using Ints = ffi::Span<const int64_t>;

namespace {

enum class Kind { kForward, kInputGradient, kKernelGradient };

const dnnl::engine& Engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

memory::data_type TypeOf(const Array& array) {
  switch (array.element_type()) {
    case ffi::DataType::F32:
      return memory::data_type::f32;
    case ffi::DataType::BF16:
      return memory::data_type::bf16;
    default:
      return memory::data_type::undef;
  }
}

// oneDNN names axes in an order of its own and takes any layout by its strides. `order[i]` is our axis that is its axis i.
memory::desc Described(const Array& array, const memory::dims& order) {
  const auto shape = array.dimensions();
  memory::dims steps(shape.size()), dims, strides;
  int64_t step = 1;
  for (size_t axis = shape.size(); axis-- > 0; step *= shape[axis]) steps[axis] = step;
  for (const int64_t axis : order) {
    dims.push_back(shape[axis]);
    strides.push_back(steps[axis]);
  }
  return memory::desc(dims, TypeOf(array), strides);
}

// [batch *space channels] as (batch, channels, *space).
memory::desc Image(const Array& array) {
  const int64_t rank = array.dimensions().size();
  memory::dims order = {0, rank - 1};
  for (int64_t axis = 1; axis < rank - 1; ++axis) order.push_back(axis);
  return Described(array, order);
}

// [*taps channels features] as (features, channels, *taps).
memory::desc Kernel(const Array& array) {
  const int64_t rank = array.dimensions().size();
  memory::dims order = {rank - 1, rank - 2};
  for (int64_t axis = 0; axis < rank - 2; ++axis) order.push_back(axis);
  return Described(array, order);
}

memory::desc AnyLayout(const memory::desc& like) {
  return memory::desc(like.get_dims(), like.get_data_type(), memory::format_tag::any);
}

// The kernel of `given` in the layout `wanted`.
memory Laid(memory given, const memory::desc& wanted, dnnl::stream& stream) {
  if (given.get_desc() == wanted) return given;
  memory laid(wanted, Engine());
  dnnl::reorder(given, laid).execute(stream, given, laid);
  return laid;
}

void Convolve(Kind kind, const Array& x, const Array& kernel, const Array& y, Ints strides, Ints low, Ints high,
              Ints dilation) {
  const auto list = [](Ints values) { return memory::dims(values.begin(), values.end()); };
  const memory::dims step = list(strides), before = list(low), after = list(high);
  memory::dims holes = list(dilation);
  for (int64_t& value : holes) value -= 1;  // oneDNN counts the holes between two taps

  const memory::desc x_desc = Image(x), y_desc = Image(y), user = Kernel(kernel), any = AnyLayout(user);
  memory x_memory(x_desc, Engine(), x.untyped_data());
  memory y_memory(y_desc, Engine(), y.untyped_data());
  memory kernel_memory(user, Engine(), kernel.untyped_data());
  dnnl::stream stream(Engine());

  const auto algorithm = dnnl::algorithm::convolution_direct;
  const auto use = kind == Kind::kForward ? dnnl::prop_kind::forward_inference : dnnl::prop_kind::forward_training;
  const dnnl::convolution_forward::primitive_desc forward(Engine(), use, algorithm, x_desc, any, y_desc, step, holes,
                                                          before, after);
  if (kind == Kind::kForward) {
    memory weights = Laid(kernel_memory, forward.weights_desc(), stream);
    dnnl::convolution_forward(forward).execute(
        stream, {{DNNL_ARG_SRC, x_memory}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, y_memory}});
  } else if (kind == Kind::kInputGradient) {
    const dnnl::convolution_backward_data::primitive_desc desc(Engine(), algorithm, x_desc, any, y_desc, step, holes,
                                                               before, after, forward);
    memory weights = Laid(kernel_memory, desc.weights_desc(), stream);
    dnnl::convolution_backward_data(desc).execute(
        stream, {{DNNL_ARG_DIFF_DST, y_memory}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DIFF_SRC, x_memory}});
  } else {
    const dnnl::convolution_backward_weights::primitive_desc desc(Engine(), algorithm, x_desc, any, y_desc, step,
                                                                  holes, before, after, forward);
    const memory::desc inner = desc.diff_weights_desc();
    memory found = inner == user ? kernel_memory : memory(inner, Engine());
    dnnl::convolution_backward_weights(desc).execute(
        stream, {{DNNL_ARG_SRC, x_memory}, {DNNL_ARG_DIFF_DST, y_memory}, {DNNL_ARG_DIFF_WEIGHTS, found}});
    if (inner != user) dnnl::reorder(found, kernel_memory).execute(stream, found, kernel_memory);
  }
  stream.wait();
}

template <Kind kind>
ffi::Error Handle(Array first, Array second, ffi::Result<Array> result, Ints strides, Ints low, Ints high,
                  Ints dilation) {
  const Array& out = *result;
  const size_t rank = first.dimensions().size();
  if (rank < 3 || rank > 5 || second.dimensions().size() != rank || out.dimensions().size() != rank) {
    return ffi::Error::InvalidArgument("convolution: arrays of one rank, 3 to 5, are needed");
  }
  for (const Ints& option : {strides, low, high, dilation}) {
    if (option.size() != rank - 2) return ffi::Error::InvalidArgument("convolution: one option per axis is needed");
  }
  const auto type = TypeOf(first);
  if (type == memory::data_type::undef || TypeOf(second) != type || TypeOf(out) != type) {
    return ffi::Error::InvalidArgument("convolution: arrays must all be float32 or all bfloat16");
  }
  const Array& x = kind == Kind::kInputGradient ? out : first;
  const Array& kernel = kind == Kind::kKernelGradient ? out : second;
  const Array& y = kind == Kind::kForward ? out : kind == Kind::kInputGradient ? first : second;
  try {
    Convolve(kind, x, kernel, y, strides, low, high, dilation);
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("convolution, oneDNN: ") + error.what());
  }
  return ffi::Error::Success();
}

auto Binding() {
  return ffi::Ffi::Bind()
      .Arg<Array>()
      .Arg<Array>()
      .Ret<Array>()
      .Attr<Ints>("strides")
      .Attr<Ints>("low")
      .Attr<Ints>("high")
      .Attr<Ints>("dilation");
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(brainjax_forward, Handle<Kind::kForward>, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(brainjax_input_gradient, Handle<Kind::kInputGradient>, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(brainjax_kernel_gradient, Handle<Kind::kKernelGradient>, Binding());
