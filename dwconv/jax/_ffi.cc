// The C core as calls that XLA makes itself (its typed FFI), without Python. The core is the one in dwconv._core, whose
// functions are found in that module's table of C functions: one pool of threads, one set of kernels.
//
// Each place in a compiled program where a convolution is called has a state of its own, made with the program. It holds
// the plan and the weights that the plan was packed from; other weights are packed anew when they come. A program may
// run on several threads at once: a state changes under a lock, what it points to never does.

#include "core_functions.h"  // Python.h, which comes first

#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "dwconv.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;

// ---- the functions of the core -------------------------------------------------------------------------------------

struct Core {
    dw_status (*plan_create)(const dw_desc *, dw_isa, const void *, const void *, dw_plan **);
    dw_status (*plan_with_weights)(const dw_plan *, const void *, const void *, dw_plan **);
    void (*plan_run_threads)(const dw_plan *, const void *, void *, int);
    void (*plan_destroy)(dw_plan *);
    dw_status (*grad_create)(const dw_desc *, dw_isa, const void *, dw_grad **);
    int64_t (*grad_workspace)(const dw_grad *, int);
    int (*grad_threads)(const dw_grad *, int);
    void (*grad_run_threads)(const dw_grad *, const void *, const void *, void *, void *, void *, void *, int);
    void (*grad_destroy)(dw_grad *);
    const char *(*status_text)(dw_status);
};

Core core;

bool find_core() {
    PyObject *table = dwconv::core_functions();
    if (table == nullptr) return false;
#define FIND(name) dwconv::find(table, "dwconv.jax", #name, &core.name)
    const bool found = FIND(plan_create) && FIND(plan_with_weights) && FIND(plan_run_threads) && FIND(plan_destroy) &&
                       FIND(grad_create) && FIND(grad_workspace) && FIND(grad_threads) && FIND(grad_run_threads) &&
                       FIND(grad_destroy) && FIND(status_text);
#undef FIND
    Py_DECREF(table);
    return found;
}

// ---- what both calls have in common --------------------------------------------------------------------------------

ffi::Error error_of(dw_status status) {
    const bool memory = status == DW_ERR_NOMEM || status == DW_ERR_OVERFLOW;
    return ffi::Error(memory ? ffi::ErrorCode::kResourceExhausted : ffi::ErrorCode::kInvalidArgument,
                      std::string("dwconv: ") + core.status_text(status));
}

// What ConvSpec.descriptor gives: the sizes of a dw_desc in its order, then whether the layout is channels first.
constexpr size_t SIZES = 16;

ffi::ErrorOr<dw_desc> describe(ffi::Span<const int64_t> sizes, int64_t dtype, int64_t activation, double alpha,
                               bool ieee) {
    if (sizes.size() != SIZES) {
        return ffi::Unexpected(ffi::Error(ffi::ErrorCode::kInvalidArgument, "dwconv: expected 16 sizes"));
    }
    const int64_t *s = sizes.begin();
    dw_desc desc = {};
    desc.batch = s[0], desc.height = s[1], desc.width = s[2], desc.channels = s[3];
    desc.multiplier = s[4];
    desc.kernel_h = s[5], desc.kernel_w = s[6];
    desc.stride_h = s[7], desc.stride_w = s[8];
    desc.dilation_h = s[9], desc.dilation_w = s[10];
    desc.pad_top = s[11], desc.pad_bottom = s[12], desc.pad_left = s[13], desc.pad_right = s[14];
    desc.layout = s[15] ? DW_NCHW : DW_NHWC;
    desc.dtype = static_cast<dw_dtype>(dtype);
    desc.activation = static_cast<dw_activation>(activation);
    desc.activation_alpha = alpha;
    desc.denormals = ieee ? DW_DENORMALS_IEEE : DW_DENORMALS_FLUSH;
    return desc;
}

// num_threads of a call: 0 stands for those of XLA's own pool.
int threads_for(int64_t num_threads, ffi::ThreadPool &pool) {
    const int64_t most = num_threads > 0 ? num_threads : pool.num_threads();
    return static_cast<int>(most < 1 ? 1 : most > 128 ? 128 : most);
}

bool same_bytes(const std::vector<char> &kept, const ffi::AnyBuffer &array) {
    return kept.size() == array.size_bytes() &&
           (kept.empty() || std::memcmp(kept.data(), array.untyped_data(), kept.size()) == 0);
}

std::vector<char> bytes_of(const ffi::AnyBuffer &array) {
    const char *at = static_cast<const char *>(array.untyped_data());
    return std::vector<char>(at, at + array.size_bytes());
}

// ---- the convolution -----------------------------------------------------------------------------------------------

struct Packed {  // never changes
    std::vector<char> kernel, bias;
    dw_plan *plan = nullptr;
    ~Packed() { core.plan_destroy(plan); }
};

struct Convolution {
    static ffi::TypeId id;
    dw_desc desc;
    dw_isa isa;
    int64_t num_threads;
    std::mutex lock;
    std::shared_ptr<const Packed> packed;  // of the last weights

    ffi::ErrorOr<std::shared_ptr<const Packed>> for_weights(const ffi::AnyBuffer &kernel, const ffi::AnyBuffer &bias) {
        std::shared_ptr<const Packed> last;
        {
            std::lock_guard<std::mutex> held(lock);
            last = packed;
        }
        if (last && same_bytes(last->kernel, kernel) && same_bytes(last->bias, bias)) return last;
        auto made = std::make_shared<Packed>();
        const void *bias_at = bias.size_bytes() ? bias.untyped_data() : nullptr;
        const dw_status status =
            last ? core.plan_with_weights(last->plan, kernel.untyped_data(), bias_at, &made->plan)
                 : core.plan_create(&desc, isa, kernel.untyped_data(), bias_at, &made->plan);
        if (status != DW_OK) return ffi::Unexpected(error_of(status));
        made->kernel = bytes_of(kernel);
        made->bias = bytes_of(bias);
        std::lock_guard<std::mutex> held(lock);
        packed = made;
        return std::shared_ptr<const Packed>(made);
    }
};

ffi::TypeId Convolution::id = {};

ffi::ErrorOr<std::unique_ptr<Convolution>> make_convolution(ffi::Span<const int64_t> sizes, int64_t dtype,
                                                            int64_t activation, double alpha, bool ieee, int64_t isa,
                                                            int64_t num_threads) {
    auto desc = describe(sizes, dtype, activation, alpha, ieee);
    if (desc.has_error()) return ffi::Unexpected(desc.error());
    auto made = std::make_unique<Convolution>();
    made->desc = desc.value();
    made->isa = static_cast<dw_isa>(isa);
    made->num_threads = num_threads;
    return made;
}

// x, kernel (kh, kw, C, M), bias (C*M,) or (0,) for none -> y
ffi::Error convolve(Convolution *call, ffi::ThreadPool pool, ffi::AnyBuffer x, ffi::AnyBuffer kernel,
                    ffi::AnyBuffer bias, ffi::Result<ffi::AnyBuffer> y, ffi::Dictionary) try {
    auto packed = call->for_weights(kernel, bias);
    if (packed.has_error()) return packed.error();
    core.plan_run_threads(packed.value()->plan, x.untyped_data(), y->untyped_data(),
                          threads_for(call->num_threads, pool));
    return ffi::Error::Success();
} catch (const std::bad_alloc &) {
    return error_of(DW_ERR_NOMEM);
}

// ---- its gradients -------------------------------------------------------------------------------------------------

struct PackedGradient {  // never changes
    std::vector<char> kernel;
    dw_grad *grad = nullptr;
    ~PackedGradient() { core.grad_destroy(grad); }
};

struct Gradient {
    static ffi::TypeId id;
    dw_desc desc;
    dw_isa isa;
    int64_t num_threads;
    bool wants_x, wants_weights;
    std::mutex lock;
    std::shared_ptr<const PackedGradient> packed;
    std::vector<std::vector<char>> idle;  // workspaces

    ffi::ErrorOr<std::shared_ptr<const PackedGradient>> for_kernel(const ffi::AnyBuffer &kernel) {
        {
            std::lock_guard<std::mutex> held(lock);
            if (packed && (!wants_x || same_bytes(packed->kernel, kernel))) return packed;
        }
        auto made = std::make_shared<PackedGradient>();
        const dw_status status = core.grad_create(&desc, isa, wants_x ? kernel.untyped_data() : nullptr, &made->grad);
        if (status != DW_OK) return ffi::Unexpected(error_of(status));
        if (wants_x) made->kernel = bytes_of(kernel);
        std::lock_guard<std::mutex> held(lock);
        packed = made;
        return std::shared_ptr<const PackedGradient>(made);
    }

    std::vector<char> take_workspace(size_t bytes) {
        std::vector<char> space;
        {
            std::lock_guard<std::mutex> held(lock);
            if (!idle.empty()) {
                space = std::move(idle.back());
                idle.pop_back();
            }
        }
        if (space.size() < bytes) space.resize(bytes);
        return space;
    }

    void give_back(std::vector<char> space) {
        std::lock_guard<std::mutex> held(lock);
        idle.push_back(std::move(space));
    }
};

ffi::TypeId Gradient::id = {};

ffi::ErrorOr<std::unique_ptr<Gradient>> make_gradient(ffi::Span<const int64_t> sizes, int64_t dtype, bool ieee,
                                                      int64_t isa, int64_t num_threads, bool wants_x,
                                                      bool wants_weights) {
    auto desc = describe(sizes, dtype, DW_LINEAR, 0, ieee);
    if (desc.has_error()) return ffi::Unexpected(desc.error());
    auto made = std::make_unique<Gradient>();
    made->desc = desc.value();
    made->isa = static_cast<dw_isa>(isa);
    made->num_threads = num_threads;
    made->wants_x = wants_x;
    made->wants_weights = wants_weights;
    return made;
}

// dy, x, kernel -> dx, dkernel, dbias. What a wanted gradient does not need, and what is not wanted, is of shape (0,).
ffi::Error differentiate(Gradient *call, ffi::ThreadPool pool, ffi::AnyBuffer dy, ffi::AnyBuffer x,
                         ffi::AnyBuffer kernel, ffi::Result<ffi::AnyBuffer> dx, ffi::Result<ffi::AnyBuffer> dkernel,
                         ffi::Result<ffi::AnyBuffer> dbias, ffi::Dictionary) try {
    auto packed = call->for_kernel(kernel);
    if (packed.has_error()) return packed.error();
    const dw_grad *grad = packed.value()->grad;
    const int threads = core.grad_threads(grad, threads_for(call->num_threads, pool));
    std::vector<char> space = call->take_workspace(static_cast<size_t>(core.grad_workspace(grad, threads)));
    core.grad_run_threads(grad, dy.untyped_data(), call->wants_weights ? x.untyped_data() : nullptr,
                          call->wants_x ? dx->untyped_data() : nullptr,
                          call->wants_weights ? dkernel->untyped_data() : nullptr,
                          call->wants_weights ? dbias->untyped_data() : nullptr, space.data(), threads);
    call->give_back(std::move(space));
    return ffi::Error::Success();
} catch (const std::bad_alloc &) {
    return error_of(DW_ERR_NOMEM);
}

// ---- as XLA calls them ---------------------------------------------------------------------------------------------

XLA_FFI_DEFINE_HANDLER(convolution_made, make_convolution,
                       ffi::Ffi::BindInstantiate()
                           .Attr<ffi::Span<const int64_t>>("sizes")
                           .Attr<int64_t>("dtype")
                           .Attr<int64_t>("activation")
                           .Attr<double>("alpha")
                           .Attr<bool>("ieee")
                           .Attr<int64_t>("isa")
                           .Attr<int64_t>("num_threads"));

XLA_FFI_DEFINE_HANDLER(convolution_run, convolve,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::State<Convolution>>()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attrs());

XLA_FFI_DEFINE_HANDLER(gradient_made, make_gradient,
                       ffi::Ffi::BindInstantiate()
                           .Attr<ffi::Span<const int64_t>>("sizes")
                           .Attr<int64_t>("dtype")
                           .Attr<bool>("ieee")
                           .Attr<int64_t>("isa")
                           .Attr<int64_t>("num_threads")
                           .Attr<bool>("wants_x")
                           .Attr<bool>("wants_weights"));

XLA_FFI_DEFINE_HANDLER(gradient_run, differentiate,
                       ffi::Ffi::Bind()
                           .Ctx<ffi::State<Gradient>>()
                           .Ctx<ffi::ThreadPool>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attrs());

template <typename Handler>
PyObject *capsule(Handler *handler) {
    return PyCapsule_New(reinterpret_cast<void *>(handler), nullptr, nullptr);
}

template <typename State>
PyObject *type_of() {
    static XLA_FFI_TypeInfo info = ffi::MakeTypeInfo<State>();
    return Py_BuildValue("{s:N,s:N}", "type_id", PyCapsule_New(&State::id, nullptr, nullptr), "type_info",
                         PyCapsule_New(&info, nullptr, nullptr));
}

PyObject *targets(PyObject *, PyObject *) {
    return Py_BuildValue("{s:{s:N,s:N},s:{s:N,s:N}}", "dwconv.convolution", "instantiate", capsule(convolution_made),
                         "execute", capsule(convolution_run), "dwconv.gradient", "instantiate", capsule(gradient_made),
                         "execute", capsule(gradient_run));
}

PyObject *types(PyObject *, PyObject *) {
    return Py_BuildValue("{s:N,s:N}", "dwconv.convolution", type_of<Convolution>(), "dwconv.gradient",
                         type_of<Gradient>());
}

PyMethodDef methods[] = {
    {"targets", targets, METH_NOARGS, "{name: {stage: handler}}, for jax.ffi.register_ffi_target"},
    {"types", types, METH_NOARGS, "{name: what jax.ffi.register_ffi_type takes}"},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_ffi", "The calls that XLA makes to the C core.", -1, methods,
                          nullptr,               nullptr, nullptr,                                  nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__ffi(void) { return find_core() ? PyModule_Create(&definition) : nullptr; }
