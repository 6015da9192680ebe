// The operators of dwconv.torch in C++: the same bits as those in Python (operators.py), less time around each call, and
// threads that are PyTorch's own. Compiled by compiled.py, when somebody asks for it, against the PyTorch that is there.
//
// The C core is the one in dwconv._core, whose functions are found in that module's table of C functions. What a plan is
// made of stays the business of Python: where none is kept for a call, Python makes it, and it is copied here, which costs
// a microsecond. Kept plans are found by geometry and the addresses of the weights, whose bytes are then compared, since an
// edit through `.data` has no trace in a tensor's version.
#include "core_functions.h"  // Python.h, which comes first

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/library.h>

#include <array>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#ifndef _WIN32
#include <pthread.h>
#endif

#include "dwconv.h"

namespace {

using at::IntArrayRef;
using at::Tensor;
using OptionalTensor = std::optional<Tensor>;
using Text = std::string_view;

// ---- the functions of the core -------------------------------------------------------------------------------------

struct Core {
    const dw_plan *(*plan_of)(PyObject *);
    dw_status (*plan_with_batch)(const dw_plan *, int64_t, dw_plan **);
    dw_status (*plan_with_weights)(const dw_plan *, const void *, const void *, dw_plan **);
    void (*plan_run_part)(const dw_plan *, const void *, void *, int, int);
    void (*plan_run_threads)(const dw_plan *, const void *, void *, int);
    int (*plan_threads)(const dw_plan *, int);
    void (*plan_destroy)(dw_plan *);
    const dw_grad *(*grad_of)(PyObject *);
    dw_status (*grad_with_weights)(const dw_grad *, const void *, const void *, dw_grad **);
    int (*grad_threads)(const dw_grad *, int);
    int64_t (*grad_workspace)(const dw_grad *, int);
    void (*grad_run_threads)(const dw_grad *, const void *, const void *, void *, void *, void *, void *, int);
    int64_t (*grad_rounds)(const dw_grad *, int);
    int64_t (*grad_parts_workspace)(const dw_grad *, int);
    void (*grad_run_part)(const dw_grad *, const void *, const void *, void *, int, void *, int64_t, int, int);
    void (*grad_end_round)(const dw_grad *, void *, void *, void *, int64_t, int);
    void (*grad_destroy)(dw_grad *);
    const char *(*status_text)(dw_status);
};

Core core;

bool find_core() {
    PyObject *table = dwconv::core_functions();
    if (table == nullptr) return false;
#define FIND(name) dwconv::find(table, "dwconv.torch", #name, &core.name)
    const bool found = FIND(plan_of) && FIND(plan_with_batch) && FIND(plan_with_weights) && FIND(plan_run_part) &&
                       FIND(plan_run_threads) && FIND(plan_threads) && FIND(plan_destroy) && FIND(grad_of) &&
                       FIND(grad_with_weights) && FIND(grad_threads) && FIND(grad_workspace) &&
                       FIND(grad_run_threads) && FIND(grad_rounds) && FIND(grad_parts_workspace) &&
                       FIND(grad_run_part) && FIND(grad_end_round) && FIND(grad_destroy) && FIND(status_text);
#undef FIND
    Py_DECREF(table);
    return found;
}

void check(dw_status status) { TORCH_CHECK(status == DW_OK, "dwconv: ", core.status_text(status)); }

// ---- what plans are kept by ----------------------------------------------------------------------------------------

// Everything that a plan depends on but the bytes of the weights.
struct Key {
    std::array<int64_t, 22> numbers;
    double alpha;
    std::string activation;
    bool operator==(const Key &other) const {
        return numbers == other.numbers && alpha == other.alpha && activation == other.activation;
    }
};

struct Hash {
    size_t operator()(const Key &key) const {
        uint64_t hash = 1469598103934665603u;  // FNV-1a, a number at a time
        for (int64_t number : key.numbers) {
            hash = (hash ^ static_cast<uint64_t>(number)) * 1099511628211u;
            hash ^= hash >> 29;
        }
        return static_cast<size_t>(hash);
    }
};

const void *address(const OptionalTensor &tensor) {
    return tensor && tensor->defined() ? tensor->const_data_ptr() : nullptr;
}

Key key_of(const Tensor &x, bool last, const Tensor &weight, const void *weight_at, const void *bias_at,
           IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, int64_t what, Text activation, double alpha) {
    TORCH_CHECK_VALUE(x.dim() == 4, "x: expected rank 4, (N, C, H, W); received shape ", x.sizes());
    TORCH_CHECK_VALUE(weight.dim() == 4, "weight: expected rank 4, (C*M, 1, kh, kw); received shape ", weight.sizes());
    TORCH_CHECK_VALUE(stride.size() == 2 && padding.size() == 4 && dilation.size() == 2,
                      "expected 2 strides, 4 paddings and 2 dilations; received ", stride, padding, dilation);
    return {{x.size(0), x.size(1), x.size(2), x.size(3), weight.size(0), weight.size(1), weight.size(2),
             weight.size(3), stride[0], stride[1], padding[0], padding[1], padding[2], padding[3], dilation[0],
             dilation[1], static_cast<int64_t>(x.scalar_type()), static_cast<int64_t>(last),
             reinterpret_cast<int64_t>(weight_at), reinterpret_cast<int64_t>(bias_at), what, 0},
            alpha,
            std::string(activation)};
}

// A bounded map. A lookup takes no GIL, and nothing is done under the lock but the lookup.
template <typename Value>
class Kept {
  public:
    std::shared_ptr<const Value> find(const Key &key) {
        const std::lock_guard<std::mutex> held(lock);
        const auto at = values.find(key);
        return at == values.end() ? nullptr : at->second;
    }

    void keep(const Key &key, std::shared_ptr<const Value> value) {
        const std::lock_guard<std::mutex> held(lock);
        if (values.size() >= MOST) values.clear();
        values[key] = std::move(value);
    }

    void forget() {
        const std::lock_guard<std::mutex> held(lock);
        values.clear();
    }

    std::mutex lock;

  private:
    static constexpr size_t MOST = 1024;
    std::unordered_map<Key, std::shared_ptr<const Value>, Hash> values;
};

// The bytes of weights when a plan was packed.
struct Bytes {
    std::vector<char> bytes;
    explicit Bytes(const OptionalTensor &tensor) {
        if (const void *at = address(tensor)) bytes.assign(static_cast<const char *>(at), end(at, *tensor));
    }
    bool are_those_of(const OptionalTensor &tensor) const {
        const void *at = address(tensor);
        const size_t size = at == nullptr ? 0 : tensor->nbytes();
        return bytes.size() == size && (size == 0 || std::memcmp(bytes.data(), at, size) == 0);
    }

  private:
    static const char *end(const void *at, const Tensor &tensor) {
        return static_cast<const char *>(at) + tensor.nbytes();
    }
};

struct Plan {
    dw_plan *plan = nullptr;
    Bytes weight, bias;
    Plan(const Tensor &of_weight, const OptionalTensor &of_bias) : weight(of_weight), bias(of_bias) {}
    Plan(const Plan &) = delete;
    ~Plan() { core.plan_destroy(plan); }
};

struct Gradient {
    dw_grad *grad = nullptr;
    Gradient() = default;
    Gradient(const Gradient &) = delete;
    ~Gradient() { core.grad_destroy(grad); }
};

// Never destroyed: threads may be in a call when the process ends.
Kept<Plan> &plans = *new Kept<Plan>;
Kept<Gradient> &gradients = *new Kept<Gradient>;

// ---- fork ------------------------------------------------------------------------------------------------------------

// OpenMP cannot run parallel regions in a child of a process that has run some (GNU's waits for ever). The core's own
// threads can.
std::atomic<bool> is_child{false};

void before_fork() {
    plans.lock.lock();
    gradients.lock.lock();
}
void after_fork() {
    gradients.lock.unlock();
    plans.lock.unlock();
}
void after_fork_in_child() {
    after_fork();
    is_child = true;
}

// ---- tensors ---------------------------------------------------------------------------------------------------------

// As in Python: a tensor in both formats counts as contiguous.
bool is_channels_last(const Tensor &x) {
    return x.is_contiguous(at::MemoryFormat::ChannelsLast) && !x.is_contiguous();
}

at::MemoryFormat format_of(bool last) {
    return last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

at::ScalarType compute_dtype(const Tensor &x) {
    switch (x.scalar_type()) {
        case at::kHalf:
        case at::kBFloat16:
        case at::kFloat: return at::kFloat;
        case at::kDouble: return at::kDouble;
        default: TORCH_CHECK_TYPE(false, "x: expected a tensor of floats; received dtype ", x.scalar_type());
    }
}

// In the dtype that is computed in, and in a memory format; the tensor itself if it is that.
Tensor as_computed(const Tensor &tensor, at::ScalarType dtype, at::MemoryFormat format) {
    return tensor.to(dtype).contiguous(format);
}

OptionalTensor as_computed(const OptionalTensor &tensor, at::ScalarType dtype) {
    if (!tensor || !tensor->defined()) return std::nullopt;
    return as_computed(*tensor, dtype, at::MemoryFormat::Contiguous);
}

// (kh, kw, C, M) of a weight (C*M, 1, kh, kw).
Tensor kernel_of(const Tensor &weight, int64_t channels) {
    return weight.reshape({channels, -1, weight.size(2), weight.size(3)}).permute({2, 3, 0, 1}).contiguous();
}

int threads_here() { return at::in_parallel_region() ? 1 : at::get_num_threads(); }

// ---- plans that Python makes -----------------------------------------------------------------------------------------

// Functions of operators.py: (x_shape, channels_last, float64, weight, bias, stride, padding, dilation, activation, alpha)
// -> a _core.Plan; the same without bias, activation and alpha -> a _core.Gradient.
PyObject *make_plan = nullptr, *make_gradient = nullptr;

struct Gil {
    PyGILState_STATE state = PyGILState_Ensure();
    Gil() = default;
    Gil(const Gil &) = delete;
    ~Gil() { PyGILState_Release(state); }
};

struct Reference {
    PyObject *object;
    explicit Reference(PyObject *owned) : object(owned) {
        if (owned == nullptr) raise();
    }
    Reference(const Reference &) = delete;
    ~Reference() { Py_DECREF(object); }
    [[noreturn]] static void raise() {
        python_error error;
        error.persist();
        throw error;
    }
};

PyObject *list_of(IntArrayRef numbers) {
    PyObject *list = PyList_New(static_cast<Py_ssize_t>(numbers.size()));
    for (size_t i = 0; list != nullptr && i < numbers.size(); i++) {
        PyObject *number = PyLong_FromLongLong(numbers[i]);
        if (number == nullptr) {
            Py_DECREF(list);
            return nullptr;
        }
        PyList_SET_ITEM(list, static_cast<Py_ssize_t>(i), number);
    }
    return list;
}

PyObject *wrapped(const OptionalTensor &tensor) {
    if (tensor && tensor->defined()) return THPVariable_Wrap(tensor->detach());
    Py_RETURN_NONE;
}

std::shared_ptr<Plan> plan_by_python(const Tensor &x, bool last, const Tensor &weight, const OptionalTensor &bias,
                                     IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, Text activation,
                                     double alpha) {
    auto made = std::make_shared<Plan>(weight, bias);
    const Gil gil;
    const Reference plan(PyObject_CallFunction(
        make_plan, "NONNNNNs#d", list_of(x.sizes()), last ? Py_True : Py_False, wrapped(weight), wrapped(bias),
        list_of(stride), list_of(padding), list_of(dilation), activation.data(),
        static_cast<Py_ssize_t>(activation.size()), alpha));
    const dw_plan *of_python = core.plan_of(plan.object);
    if (of_python == nullptr) Reference::raise();
    check(core.plan_with_batch(of_python, x.size(0), &made->plan));
    return made;
}

std::shared_ptr<Gradient> gradient_by_python(const Tensor &x, bool last, const Tensor &weight, const void *kernel,
                                             IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation) {
    auto made = std::make_shared<Gradient>();
    const Gil gil;
    const Reference gradient(PyObject_CallFunction(
        make_gradient, "NONNNNO", list_of(x.sizes()), last ? Py_True : Py_False, wrapped(weight), list_of(stride),
        list_of(padding), list_of(dilation), kernel != nullptr ? Py_True : Py_False));
    const dw_grad *of_python = core.grad_of(gradient.object);
    if (of_python == nullptr) Reference::raise();
    check(core.grad_with_weights(of_python, kernel, nullptr, &made->grad));
    return made;
}

// ---- the operators ---------------------------------------------------------------------------------------------------

std::shared_ptr<const Plan> plan_for(const Tensor &x, bool last, const Tensor &weight, const OptionalTensor &bias,
                                     IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, Text activation,
                                     double alpha) {
    const Key key = key_of(x, last, weight, weight.const_data_ptr(), address(bias), stride, padding, dilation, 0,
                           activation, alpha);
    const auto kept = plans.find(key);
    if (kept && kept->weight.are_those_of(weight) && kept->bias.are_those_of(bias)) return kept;
    std::shared_ptr<Plan> made;
    if (kept) {
        made = std::make_shared<Plan>(weight, bias);
        const Tensor kernel = kernel_of(weight, x.size(1));
        check(core.plan_with_weights(kept->plan, kernel.const_data_ptr(), address(bias), &made->plan));
    } else {
        made = plan_by_python(x, last, weight, bias, stride, padding, dilation, activation, alpha);
    }
    plans.keep(key, made);
    return made;
}

void run(const dw_plan *plan, const void *x, void *y) {
    const int threads = core.plan_threads(plan, threads_here());
    if (threads == 1 || is_child) {
        core.plan_run_threads(plan, x, y, threads);
        return;
    }
    at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t part = begin; part < end; part++) core.plan_run_part(plan, x, y, static_cast<int>(part), threads);
    });
}

int64_t output_size(int64_t size, int64_t before, int64_t after, int64_t k, int64_t dilation, int64_t stride) {
    return (size + before + after - dilation * (k - 1) - 1) / stride + 1;
}

Tensor forward(const Tensor &x, const Tensor &weight, const OptionalTensor &bias, IntArrayRef stride,
               IntArrayRef padding, IntArrayRef dilation, Text activation, double alpha) {
    const bool last = is_channels_last(x);
    const at::ScalarType dtype = compute_dtype(x);
    const Tensor source = as_computed(x, dtype, format_of(last));
    const Tensor kernel = as_computed(weight, dtype, at::MemoryFormat::Contiguous);
    const OptionalTensor offsets = as_computed(bias, dtype);
    const auto plan = plan_for(source, last, kernel, offsets, stride, padding, dilation, activation, alpha);
    const int64_t height = output_size(x.size(2), padding[0], padding[1], weight.size(2), dilation[0], stride[0]);
    const int64_t width = output_size(x.size(3), padding[2], padding[3], weight.size(3), dilation[1], stride[1]);
    Tensor y = at::empty({x.size(0), weight.size(0), height, width}, source.options(), format_of(last));
    run(plan->plan, source.const_data_ptr(), y.data_ptr());
    return y.to(x.scalar_type());
}

void run(const dw_grad *grad, const Tensor &dy, const void *x, void *dx, void *dkernel, void *dbias) {
    const int threads = core.grad_threads(grad, threads_here()), with_weights = dkernel != nullptr;
    const bool own = threads == 1 || is_child;
    const int64_t bytes = own ? core.grad_workspace(grad, threads) : core.grad_parts_workspace(grad, threads);
    TORCH_CHECK(bytes >= 0, "dwconv: ", core.status_text(DW_ERR_OVERFLOW));
    const Tensor workspace = at::empty({bytes}, dy.options().dtype(at::kByte));
    void *space = workspace.data_ptr();
    const void *from = dy.const_data_ptr();
    if (own) {
        core.grad_run_threads(grad, from, x, dx, dkernel, dbias, space, threads);
        return;
    }
    const int64_t rounds = core.grad_rounds(grad, threads);
    for (int64_t round = 0; round < rounds; round++) {
        at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
            for (int64_t part = begin; part < end; part++)
                core.grad_run_part(grad, from, x, dx, with_weights, space, round, static_cast<int>(part), threads);
        });
        core.grad_end_round(grad, dkernel, dbias, space, round, threads);
    }
}

std::tuple<Tensor, Tensor, Tensor> backward(const Tensor &dy_, const Tensor &x_, const Tensor &weight_,
                                            IntArrayRef stride, IntArrayRef padding, IntArrayRef dilation, bool want_x,
                                            bool want_weight) {
    const bool last = is_channels_last(x_);
    const at::ScalarType dtype = compute_dtype(x_), stored = x_.scalar_type();
    const at::MemoryFormat format = format_of(last);
    const Tensor x = as_computed(x_, dtype, format), dy = as_computed(dy_, dtype, format);
    const Tensor weight = as_computed(weight_, dtype, at::MemoryFormat::Contiguous);
    const Key key = key_of(x, last, weight, nullptr, nullptr, stride, padding, dilation, want_x ? 1 : 2, "", 0);
    const Tensor kernel = want_x ? kernel_of(weight, x.size(1)) : Tensor();
    const void *kernel_at = want_x ? kernel.const_data_ptr() : nullptr;
    std::shared_ptr<const Gradient> gradient;
    if (const auto kept = gradients.find(key)) {
        auto made = std::make_shared<Gradient>();
        check(core.grad_with_weights(kept->grad, kernel_at, nullptr, &made->grad));
        gradient = std::move(made);
    } else {
        gradient = gradient_by_python(x, last, weight, kernel_at, stride, padding, dilation);
        gradients.keep(key, gradient);
    }
    TORCH_CHECK_VALUE(
        (dy.sizes() == IntArrayRef{x.size(0), weight.size(0),
                                   output_size(x.size(2), padding[0], padding[1], weight.size(2), dilation[0], stride[0]),
                                   output_size(x.size(3), padding[2], padding[3], weight.size(3), dilation[1], stride[1])}),
        "dy: expected the output's shape; received ", dy.sizes());
    Tensor dx = at::empty({0}, x.options()), dweight = at::empty({0}, x.options()), dkernel;
    Tensor dbias = at::empty({0}, x.options());
    if (want_x) dx = at::empty(x.sizes(), x.options(), format);
    if (want_weight) {
        const int64_t channels = x.size(1);
        dkernel = at::empty({weight.size(2), weight.size(3), channels, weight.size(0) / channels}, x.options());
        dbias = at::empty({weight.size(0)}, x.options());
    }
    run(gradient->grad, dy, want_weight ? x.const_data_ptr() : nullptr, want_x ? dx.data_ptr() : nullptr,
        want_weight ? dkernel.data_ptr() : nullptr, want_weight ? dbias.data_ptr() : nullptr);
    if (want_weight) dweight = dkernel.permute({2, 3, 0, 1}).reshape(weight.sizes()).contiguous();
    return {dx.to(stored), dweight.to(stored), dbias.to(stored)};
}

// ---- autograd --------------------------------------------------------------------------------------------------------

using Forward = Tensor(const Tensor &, const Tensor &, const OptionalTensor &, IntArrayRef, IntArrayRef, IntArrayRef,
                       Text, double);
using Backward = std::tuple<Tensor, Tensor, Tensor>(const Tensor &, const Tensor &, const Tensor &, IntArrayRef,
                                                    IntArrayRef, IntArrayRef, bool, bool);

// What the dispatcher has for an operator, so that fake tensors, compilers and profilers see the call.
template <typename Function>
c10::TypedOperatorHandle<Function> operator_named(const char *name) {
    return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Function>();
}

// The gradient before an activation, of the gradient after it and the value before it. As in operators.py.
Tensor before(Text activation, const Tensor &dy, const Tensor &z, double alpha) {
    if (activation == "relu") return at::threshold_backward(dy, z, 0);
    if (activation == "relu6") return at::hardtanh_backward(dy, z, 0, 6);
    if (activation == "leaky_relu") return at::leaky_relu_backward(dy, z, alpha, false);
    if (activation == "hard_sigmoid") return at::hardsigmoid_backward(dy, z);
    if (activation == "hard_silu") return at::hardswish_backward(dy, z);
    if (activation == "sigmoid") return at::sigmoid_backward(dy, z.sigmoid());
    if (activation == "tanh") return at::tanh_backward(dy, z.tanh());
    if (activation == "silu") return at::silu_backward(dy, z);
    if (activation == "gelu") return at::gelu_backward(dy, z);
    if (activation == "gelu_tanh") return at::gelu_backward(dy, z, "tanh");
    if (activation == "elu") return at::elu_backward(dy, alpha, 1, 1, false, z);
    TORCH_CHECK_VALUE(false, "activation: received '", activation, "', which has no gradient here");
}

class Differentiable : public torch::autograd::Function<Differentiable> {
  public:
    static Tensor forward(torch::autograd::AutogradContext *ctx, const Tensor &x, const Tensor &weight,
                          const OptionalTensor &bias, std::vector<int64_t> stride, std::vector<int64_t> padding,
                          std::vector<int64_t> dilation, std::string activation, double alpha) {
        static const auto op = operator_named<Forward>("dwconv::depthwise_conv2d");
        const bool linear = activation == "linear";
        ctx->save_for_backward({x, weight, linear ? Tensor() : bias.value_or(Tensor())});
        ctx->saved_data["has_bias"] = bias.has_value() && bias->defined();
        ctx->saved_data["stride"] = stride;
        ctx->saved_data["padding"] = padding;
        ctx->saved_data["dilation"] = dilation;
        ctx->saved_data["activation"] = activation;
        ctx->saved_data["alpha"] = alpha;
        const at::AutoDispatchBelowADInplaceOrView below;
        return op.call(x, weight, bias, stride, padding, dilation, activation, alpha);
    }

    static torch::autograd::variable_list backward(torch::autograd::AutogradContext *ctx,
                                                   torch::autograd::variable_list outputs) {
        static const auto op = operator_named<Forward>("dwconv::depthwise_conv2d");
        static const auto gradients_of = operator_named<Backward>("dwconv::depthwise_conv2d_backward");
        const auto saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &weight = saved[1];
        const auto stride = ctx->saved_data["stride"].toIntVector(), padding = ctx->saved_data["padding"].toIntVector(),
                   dilation = ctx->saved_data["dilation"].toIntVector();
        const std::string activation = ctx->saved_data["activation"].toStringRef();
        const bool has_bias = ctx->saved_data["has_bias"].toBool();
        Tensor dy = outputs[0];
        if (activation != "linear") {
            const OptionalTensor bias = saved[2].defined() ? OptionalTensor(saved[2]) : std::nullopt;
            const Tensor z = op.call(x, weight, bias, stride, padding, dilation, "linear", 0);
            dy = before(activation, dy, z, ctx->saved_data["alpha"].toDouble());
        }
        const bool want_x = ctx->needs_input_grad(0), want_weight = ctx->needs_input_grad(1);
        const bool want_bias = has_bias && ctx->needs_input_grad(2);
        const auto [dx, dweight, dbias] =
            gradients_of.call(dy, x, weight, stride, padding, dilation, want_x, want_weight || want_bias);
        const Tensor none;
        return {want_x ? dx : none, want_weight ? dweight : none, want_bias ? dbias : none,
                none, none, none, none, none};
    }
};

Tensor with_autograd(const Tensor &x, const Tensor &weight, const OptionalTensor &bias, IntArrayRef stride,
                     IntArrayRef padding, IntArrayRef dilation, Text activation, double alpha) {
    const bool with_bias = bias && bias->defined() && bias->requires_grad();
    if (at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad() || with_bias))
        return Differentiable::apply(x, weight, bias, stride.vec(), padding.vec(), dilation.vec(),
                                     std::string(activation), alpha);
    static const auto op = operator_named<Forward>("dwconv::depthwise_conv2d");
    const at::AutoDispatchBelowADInplaceOrView below;
    return op.call(x, weight, bias, stride, padding, dilation, activation, alpha);
}

// ---- the module ------------------------------------------------------------------------------------------------------

std::unique_ptr<torch::Library> cpu, autograd;

PyObject *none_or_error(void (*what)()) {
    try {
        what();
    } catch (const std::exception &error) {
        PyErr_SetString(PyExc_RuntimeError, error.what());
        return nullptr;
    }
    Py_RETURN_NONE;
}

PyObject *enable(PyObject *, PyObject *arguments) {
    PyObject *of_plan, *of_gradient;
    if (!PyArg_ParseTuple(arguments, "OO", &of_plan, &of_gradient)) return nullptr;
    Py_INCREF(of_plan);
    Py_INCREF(of_gradient);
    Py_XSETREF(make_plan, of_plan);
    Py_XSETREF(make_gradient, of_gradient);
    return none_or_error([] {
        cpu = std::make_unique<torch::Library>(torch::Library::IMPL, "dwconv", c10::DispatchKey::CPU, __FILE__, __LINE__);
        cpu->impl("depthwise_conv2d", forward);
        cpu->impl("depthwise_conv2d_backward", backward);
        autograd = std::make_unique<torch::Library>(torch::Library::IMPL, "dwconv", c10::DispatchKey::Autograd, __FILE__,
                                                    __LINE__);
        autograd->impl("depthwise_conv2d", with_autograd);
    });
}

PyObject *disable(PyObject *, PyObject *) {
    return none_or_error([] {
        autograd.reset();
        cpu.reset();
    });
}

PyObject *forget(PyObject *, PyObject *) {
    return none_or_error([] {
        plans.forget();
        gradients.forget();
    });
}

PyMethodDef METHODS[] = {
    {"enable", enable, METH_VARARGS, "Registers the kernels, given the functions that make plans and gradients."},
    {"disable", disable, METH_NOARGS, "Takes the kernels back."},
    {"forget", forget, METH_NOARGS, "Forgets all plans."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "dwconv_torch_operators", nullptr, -1, METHODS, nullptr, nullptr, nullptr,
                      nullptr};

}  // namespace

#define INIT_OF(name) PyInit_##name
#define INIT(name) INIT_OF(name)

PyMODINIT_FUNC INIT(TORCH_EXTENSION_NAME)(void) {
    if (!find_core()) return nullptr;
#ifndef _WIN32
    pthread_atfork(before_fork, after_fork, after_fork_in_child);
#endif
    return PyModule_Create(&MODULE);
}
