// Convolutions of channels-last arrays by oneDNN, as handlers of XLA's foreign function interface.
//
// Three handlers, each one primitive of oneDNN: the convolution, the gradient of its input and that of its kernel. The
// images stay in the layout that JAX gives them, the small kernels are laid out as oneDNN is quickest with. What oneDNN
// refuses comes back to Python as an error, never as an abort. Kernels of one tap are matrix products; and where it pays,
// `winograd.h` does with oneDNN's matrix products what its convolutions would.

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

#if defined(_OPENMP) && defined(__GNUC__) && !defined(__clang__)
#define BRAINJAX_OPENMP 1
#include "depthwise.h"
#include "winograd.h"
#endif

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

// [*taps 1 channels] as (channels, 1, 1, *taps): as many groups as channels, of one channel each.
memory::desc DepthwiseKernel(const Array& array) {
  const memory::desc kernel = Kernel(array);
  memory::dims dims = kernel.get_dims(), strides = kernel.get_strides();
  dims.insert(dims.begin() + 1, 1);
  strides.insert(strides.begin() + 1, 1);
  return memory::desc(dims, kernel.get_data_type(), strides);
}

bool IsDepthwise(const Array& x, const Array& kernel) {
  const auto size = kernel.dimensions();
  return size[size.size() - 2] == 1 && x.dimensions().back() > 1;
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

float* Data(const Array& array) { return static_cast<float*>(array.untyped_data()); }

// Whether it is a matrix product, of [positions channels] by [channels features]; does it then.
bool Product(Kind kind, const Array& x, const Array& kernel, const Array& y, Ints strides) {
  const auto in = x.dimensions(), size = kernel.dimensions(), out = y.dimensions();
  const size_t axes = in.size() - 2;
  if (TypeOf(x) != memory::data_type::f32) return false;
  int64_t rows = in[0];
  for (size_t i = 0; i < axes; ++i) {
    if (size[i] != 1 || strides[i] != 1 || in[i + 1] != out[i + 1]) return false;
    rows *= in[i + 1];
  }
  const int64_t c = in[axes + 1], f = out[axes + 1];
  if (in[0] != out[0] || size[axes] != c || size[axes + 1] != f) return false;
  dnnl::status status;
  if (kind == Kind::kForward) {
    status = dnnl::sgemm('N', 'N', rows, f, c, 1.0f, Data(x), c, Data(kernel), f, 0.0f, Data(y), f);
  } else if (kind == Kind::kInputGradient) {
    status = dnnl::sgemm('N', 'T', rows, c, f, 1.0f, Data(y), f, Data(kernel), f, 0.0f, Data(x), c);
  } else {
    status = dnnl::sgemm('T', 'N', c, f, rows, 1.0f, Data(x), c, Data(y), f, 0.0f, Data(kernel), f);
  }
  return status == dnnl::status::success;
}

#ifdef BRAINJAX_OPENMP
// Whether `depthwise.h` can do it and it pays; does it then.
bool Depthwise(Kind kind, const Array& x, const Array& kernel, const Array& y, Ints strides, Ints low, Ints dilation) {
  const auto in = x.dimensions(), size = kernel.dimensions(), out = y.dimensions();
  if (kind != Kind::kKernelGradient || TypeOf(x) != memory::data_type::f32 || in.size() != 4) return false;
  if (!IsDepthwise(x, kernel) || dilation[0] != 1 || dilation[1] != 1) return false;
  const auto axis = [&](size_t i) { return depthwise::Axis{in[i + 1], out[i + 1], size[i], strides[i], low[i]}; };
  const depthwise::Problem problem{in[0], in[3], axis(0), axis(1)};
  if (in[0] != out[0] || in[3] != out[3] || in[3] != size[3] || !problem.Pays()) return false;
  depthwise::KernelGradient(problem, Data(x), Data(y), Data(kernel));
  return true;
}

// Whether `winograd.h` can do it and it pays; does it then.
bool Winograd(Kind kind, const Array& x, const Array& kernel, const Array& y, Ints strides, Ints low, Ints high,
              Ints dilation) {
  const auto in = x.dimensions(), size = kernel.dimensions(), out = y.dimensions();
  const size_t axes = in.size() - 2, first = axes - 2;  // the last two axes are tiled
  if (TypeOf(x) != memory::data_type::f32 || axes < 2 || size[first] != 3 || size[first + 1] != 3) return false;
  if (in[0] != out[0] || in[axes + 1] != size[axes] || out[axes + 1] != size[axes + 1]) return false;
  for (size_t i = 0; i < axes; ++i) {
    if (strides[i] != 1 || dilation[i] != 1 || in[i + 1] + low[i] + high[i] - size[i] + 1 != out[i + 1]) return false;
  }
  const auto slices = [&](auto shape) { return winograd::Slices{shape[first + 1], shape[first + 2], shape[axes + 1]}; };
  winograd::Problem problem{1, in[0], out[0], slices(in), slices(out), 1, 0, low[first], low[first + 1]};
  if (axes == 3) {
    problem.batch = in[0];
    problem.depth = in[1];
    problem.out_depth = out[1];
    problem.taps = size[0];
    problem.low_depth = low[0];
  }
  if (kind == Kind::kInputGradient) {
    std::swap(problem.in, problem.out);
    std::swap(problem.depth, problem.out_depth);
    problem.low_depth = problem.taps - 1 - problem.low_depth;
    problem.low_y = 2 - problem.low_y;
    problem.low_x = 2 - problem.low_x;
  }
  if (!problem.Pays()) return false;
  if (kind == Kind::kForward) {
    winograd::Forward(problem, Data(x), Data(kernel), false, Data(y));
  } else if (kind == Kind::kInputGradient) {
    winograd::Forward(problem, Data(y), Data(kernel), true, Data(x));
  } else {
    winograd::KernelGradient(problem, Data(x), Data(y), Data(kernel));
  }
  return true;
}
#endif

void Convolve(Kind kind, const Array& x, const Array& kernel, const Array& y, Ints strides, Ints low, Ints high,
              Ints dilation) {
  const auto list = [](Ints values) { return memory::dims(values.begin(), values.end()); };
  const memory::dims step = list(strides), before = list(low), after = list(high);
  memory::dims holes = list(dilation);
  for (int64_t& value : holes) value -= 1;  // oneDNN counts the holes between two taps

  const memory::desc x_desc = Image(x), y_desc = Image(y);
  const memory::desc user = IsDepthwise(x, kernel) ? DepthwiseKernel(kernel) : Kernel(kernel), any = AnyLayout(user);
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
                  Ints dilation, int64_t winograd) {
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
    if (Product(kind, x, kernel, y, strides)) return ffi::Error::Success();
#ifdef BRAINJAX_OPENMP
    if (Depthwise(kind, x, kernel, y, strides, low, dilation)) return ffi::Error::Success();
    if (winograd && Winograd(kind, x, kernel, y, strides, low, high, dilation)) return ffi::Error::Success();
#endif
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
      .Attr<Ints>("dilation")
      .Attr<int64_t>("winograd");
}

}  // namespace

// Whether oneDNN convolves bfloat16 on this processor, and has both gradients: it wants AVX-512 for that.
extern "C" int brainjax_has_bfloat16() {
  const auto type = memory::data_type::bf16;
  const memory::desc image({1, 16, 8, 8}, type, memory::format_tag::nhwc);
  const memory::desc kernel({16, 16, 3, 3}, type, memory::format_tag::any);
  const memory::dims one = {1, 1}, none = {0, 0};
  const auto algorithm = dnnl::algorithm::convolution_direct;
  try {
    const dnnl::convolution_forward::primitive_desc forward(Engine(), dnnl::prop_kind::forward_training, algorithm,
                                                            image, kernel, image, one, none, one, one);
    dnnl::convolution_backward_data::primitive_desc(Engine(), algorithm, image, kernel, image, one, none, one, one,
                                                    forward);
    dnnl::convolution_backward_weights::primitive_desc(Engine(), algorithm, image, kernel, image, one, none, one, one,
                                                       forward);
  } catch (const std::exception&) {
    return 0;
  }
  return 1;
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(brainjax_forward, Handle<Kind::kForward>, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(brainjax_input_gradient, Handle<Kind::kInputGradient>, Binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(brainjax_kernel_gradient, Handle<Kind::kKernelGradient>, Binding());
