// The CUDA kernels as a host library, called as the driver calls them: with a launch shape and pointers to the arguments.
#include "cuda_on_host.h"

#include "activation_maps.cu"
#include "clean_variance.cu"
#include "corrugation.cu"
#include "draw_parameters.cu"
#include "draw_scatterers.cu"
#include "drift.cu"
#include "gain_offset.cu"
#include "kernel_images.cu"
#include "kernel_rms.cu"
#include "line_noise.cu"
#include "line_offsets.cu"
#include "plane_tilt.cu"
#include "superpose.cu"
#include "superpose_species.cu"
#include "superpose_table.cu"
#include "tip_blur.cu"
#include "white_noise.cu"

template <class... Arguments, size_t... I>
static void call(void (*kernel)(Arguments...), void** arguments, std::index_sequence<I...>)
{
    kernel(*static_cast<Arguments*>(arguments[I])...);
}

template <class... Arguments>
static void launch(void (*kernel)(Arguments...), unsigned blocks, unsigned threads, int order, void** arguments)
{
    Launch::run(
        blocks, threads, (Order)order, [=] { call(kernel, arguments, std::index_sequence_for<Arguments...>()); });
}

#define LAUNCHER(kernel)                                                                       \
    extern "C" void launch_##kernel(unsigned blocks, unsigned threads, int order, void** arguments) \
    {                                                                                          \
        launch(kernel, blocks, threads, order, arguments);                                     \
    }
LAUNCHER(activation_maps)
LAUNCHER(clean_variance)
LAUNCHER(corrugation)
LAUNCHER(draw_parameters)
LAUNCHER(draw_scatterers)
LAUNCHER(drift)
LAUNCHER(gain_offset)
LAUNCHER(kernel_images)
LAUNCHER(kernel_rms)
LAUNCHER(line_noise)
LAUNCHER(line_offsets)
LAUNCHER(plane_tilt)
LAUNCHER(superpose)
LAUNCHER(superpose_species)
LAUNCHER(superpose_table)
LAUNCHER(tip_blur)
LAUNCHER(white_noise)

#define MAPPER(function, Number)                                                 \
    extern "C" void map_##function(const Number* in, Number* out, long count)    \
    {                                                                            \
        std::transform(in, in + count, out, [](Number x) { return function(x); }); \
    }
MAPPER(sin2pi_f32, float)
MAPPER(exp2_f32, float)
MAPPER(reciprocal_f32, float)
MAPPER(minus2ln_f32, float)
MAPPER(sin2pi_f64, double)
MAPPER(exp2_f64, double)

extern "C" void set_estimate_offset(int offset) { estimate_offset = offset; }

// Roots that are not correctly rounded, among all significands and all estimates within 2^-21.
extern "C" long wrong_roots()
{
    long wrong = 0;
    for (estimate_offset = -9; estimate_offset <= 9; ++estimate_offset) {
        for (int bits = __float_as_int(1.0f); bits < __float_as_int(4.0f); ++bits) {
            const float x = __int_as_float(bits);
            const double error = rsqrt_estimate(x) * std::sqrt((double)x) - 1;
            wrong += std::fabs(error) <= 0x1p-21 && root_f32(x) != std::sqrt(x);
        }
    }
    estimate_offset = 0;
    return wrong;
}
