// embed.cpp - a layer in C++: a plan that destroys itself, and an error that is thrown. examples/CMakeLists.txt builds it.
#include <iostream>
#include <memory>
#include <stdexcept>
#include <vector>

#include "dwconv.h"

using Plan = std::unique_ptr<dw_plan, decltype(&dw_plan_destroy)>;

static Plan make_plan(dw_desc desc, const std::vector<float> &kernel) {
    dw_plan *plan = nullptr;
    dw_status status = dw_pad_same(&desc);
    if (status == DW_OK) status = dw_plan_create(&desc, DW_ISA_AUTO, kernel.data(), nullptr, &plan);
    if (status != DW_OK) throw std::runtime_error(dw_status_text(status));
    return Plan(plan, dw_plan_destroy);
}

int main() try {
    dw_desc desc{};
    desc.batch = 1, desc.height = 5, desc.width = 7, desc.channels = 8, desc.multiplier = 1;
    desc.kernel_h = desc.kernel_w = 3;
    desc.stride_h = desc.stride_w = desc.dilation_h = desc.dilation_w = 1;

    const std::vector<float> x(5 * 7 * 8, 1.0F), kernel(3 * 3 * 8, 1.0F);
    std::vector<float> y(x.size());
    dw_plan_run(make_plan(desc, kernel).get(), x.data(), y.data());
    std::cout << "dwconv " << dw_version() << ", " << dw_isa_name(dw_isa_best()) << ": " << y[0] << " taps in the corner\n";
    return y[0] == 4 ? 0 : 1;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
