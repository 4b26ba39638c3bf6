// The words of CUDA C++ that kernels_cuda/ uses, for a host compiler: the sources are included after this header as
// they are. Every CUDA thread is a fiber, __syncthreads() hands over to the next one, and a block is over when all its
// fibers are. The order in which fibers take turns can be chosen: where a barrier is missing, it changes the result.
//
// What this cannot see: races within one turn of a thread, memory models, what the real compiler does with the
// sources, and flush-to-zero.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __shared__ static
#define __noinline__
#define __launch_bounds__(...)

struct Index {
    unsigned x;
};
static Index threadIdx, blockIdx, blockDim;

inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline double __dsqrt_rn(double a) { return std::sqrt(a); }

template <class To, class From>
To bits_as(From from)
{
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}
inline int __float_as_int(float a) { return bits_as<int>(a); }
inline float __int_as_float(int a) { return bits_as<float>(a); }
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline unsigned atomicOr(unsigned* target, unsigned bits) { return std::exchange(*target, *target | bits); }
inline double __longlong_as_double(long long a) { return bits_as<double>(a); }

// How far, in units of the last place, the estimate is moved off the best one: a GPU's may be off as well.
static int estimate_offset = 0;
inline float rsqrt_estimate(float x)
{
    return __int_as_float(__float_as_int((float)(1 / std::sqrt((double)x))) + estimate_offset);
}

enum Order { FORWARD, BACKWARD, SHUFFLED };

// Runs the blocks of a launch, one after the other.
class Launch {
public:
    static void run(unsigned blocks, unsigned threads, Order order, std::function<void()> kernel)
    {
        Launch launch(threads, order, std::move(kernel));
        blockDim.x = threads;
        for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
            launch.run_block();
        }
    }

    static void hand_over() { swapcontext(&current->fibers[threadIdx.x].context, &current->scheduler); }

private:
    static constexpr size_t STACK = 1 << 16;

    struct Fiber {
        ucontext_t context;
        std::vector<char> stack = std::vector<char>(STACK);
        bool is_done;
    };

    Launch(unsigned threads, Order order, std::function<void()> kernel)
        : kernel(std::move(kernel)), order(order), fibers(threads), turns(threads)
    {
        for (unsigned k = 0; k < threads; ++k) {
            turns[k] = order == BACKWARD ? threads - 1 - k : k;
        }
        current = this;
    }

    void run_block()
    {
        for (Fiber& fiber : fibers) {
            fiber.is_done = false;
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.data();
            fiber.context.uc_stack.ss_size = STACK;
            fiber.context.uc_link = &scheduler;
            makecontext(&fiber.context, enter, 0);
        }
        for (size_t done = 0; done < fibers.size();) {
            if (order == SHUFFLED) {
                for (size_t k = turns.size(); k > 1; --k) {
                    state = state * 6364136223846793005ull + 1442695040888963407ull;
                    std::swap(turns[k - 1], turns[(state >> 33) % k]);
                }
            }
            for (unsigned turn : turns) {
                threadIdx.x = turn;
                swapcontext(&scheduler, &fibers[turn].context);
            }
            done = std::count_if(fibers.begin(), fibers.end(), [](const Fiber& fiber) { return fiber.is_done; });
            if (done != 0 && done != fibers.size()) {
                std::fprintf(stderr, "a barrier was passed by some threads of a block only\n");
                std::abort();
            }
        }
    }

    static void enter()
    {
        current->kernel();
        current->fibers[threadIdx.x].is_done = true;
    }

    static inline Launch* current = nullptr;
    std::function<void()> kernel;
    Order order;
    std::vector<Fiber> fibers;
    std::vector<unsigned> turns;
    ucontext_t scheduler;
    unsigned long long state = 1;
};

inline void __syncthreads() { Launch::hand_over(); }
