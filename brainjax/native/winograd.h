// Convolutions with 3 x 3 taps by Winograd's F(4 x 4, 3 x 3): four times fewer multiplications than the sum itself.
//
// Lavin and Gray 2016, "Fast algorithms for convolutional neural networks" (arXiv:1509.09308). A tile of 4 x 4 outputs
// needs 6 x 6 inputs. Both the tile and the kernel are turned into 6 x 6 coefficients; those are multiplied one by one
// and summed over the channels, which is a matrix product of [tiles channels] by [channels features] for each of the
// 36; and what comes out is turned back. The gradients are the same three steps in another order. The points of the
// interpolation are 0, 1, -1, 1/2 and -2, after Barabasz et al. 2020 (arXiv:1803.10986): a third of the rounding error of
// the usual 0, 1, -1, 2 and -2, some 1e-5 of the result's spread, where the plain sum has 1e-6.
//
// A volume's third axis, the first of three, is summed as it stands: the coefficients of each slice are computed once
// and multiplied by each of the taps along that axis. Images of a batch are the slices of a volume with a single tap.

#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "product.h"
#include "scratch.h"
#include "transforms.h"

namespace winograd {

// Bytes of coefficients: those of a kernel that each thread may sum for itself; those in work, of one thread and of all.
constexpr int64_t kOwnKernelBytes = 8 << 20, kOwnBytes = 4 << 20, kTeamBytes = 24 << 20;
constexpr int64_t kFewestTiles = 32;

struct Problem {
  int64_t batch, depth, out_depth;  // slices of one volume; a batch of images is one volume
  Slices in, out;
  int64_t taps;                     // along the depth
  int64_t low_depth, low_y, low_x;  // zeros before the first

  int64_t TilesX() const { return (out.width + kTile - 1) / kTile; }
  int64_t Tiles() const { return (out.height + kTile - 1) / kTile * TilesX(); }

  // Whether it pays: channels fill the registers, most of the tiles' area is wanted, and they outnumber the kernel's own
  // transforms.
  bool Pays() const {
    return in.channels % kLanes == 0 && out.channels % kLanes == 0 && batch * out_depth * Tiles() >= kFewestTiles &&
           2 * out.height * out.width >= Tiles() * kTile * kTile;
  }
};

// Who works on a slab: one thread, which has it in its own cache; or, where the kernel's coefficients are many and tiles
// few, all of them together.
struct Team {
  int64_t rank, size;
  int64_t First(int64_t count) const { return count * rank / size; }
  int64_t Last(int64_t count) const { return count * (rank + 1) / size; }
  void Wait() const {
    if (size > 1) {
#pragma omp barrier
    }
  }
};

// What is in work at a time, and memory for it.
struct Plan {
  const Problem& p;
  int64_t channels, features, size, taps_size;  // of a tap's matrix, and of all coefficients of the kernel
  bool together;
  int64_t slices, tiles, spare_size;
  int threads;

  explicit Plan(const Problem& problem)
      : p(problem),
        channels(p.in.channels),
        features(p.out.channels),
        size(channels * features),
        taps_size(p.taps * kCoefficients * size),
        together(taps_size * int64_t{sizeof(float)} > kOwnKernelBytes),
        spare_size(kCoefficients * std::max(channels, features)),
        threads(omp_get_max_threads()) {
    const int64_t bytes = kCoefficients * (channels + features) * sizeof(float), halo = p.taps - 1;
    const int64_t all = p.batch * p.out_depth * p.Tiles(), share = together ? all : (all + threads - 1) / threads;
    const int64_t rows = std::clamp<int64_t>((together ? kTeamBytes : kOwnBytes) / bytes, 1, share);
    slices = std::min<int64_t>(p.out_depth, p.taps == 1 ? 1 : 16);
    tiles = std::min(p.Tiles(), std::max<int64_t>(rows / (slices + halo), 1));
    if (tiles == p.Tiles()) slices = std::clamp<int64_t>(rows / tiles - halo, 1, p.out_depth);
  }
  int64_t InRows() const { return (slices + p.taps - 1) * tiles; }
  int64_t OutRows() const { return slices * tiles; }
  int64_t PerTeam() const { return kCoefficients * (InRows() * channels + OutRows() * features) + 32; }
  int64_t Teams() const { return together ? 1 : threads; }
  int64_t WorkSize() const { return Teams() * PerTeam() + threads * spare_size; }

  // Calls `work(volume, first_slice, slices, first_tile, tiles)` for this thread's slabs, or with the team for all.
  template <class Work>
  void ForSlabs(const Team& all, Work work) const {
    int64_t turn = 0;
    for (int64_t b = 0; b < p.batch; ++b) {
      for (int64_t d = 0; d < p.out_depth; d += slices) {
        for (int64_t t = 0; t < p.Tiles(); t += tiles) {
          if (!together && turn++ % all.size != all.rank) continue;
          work(b, d, std::min(slices, p.out_depth - d), t, std::min(tiles, p.Tiles() - t));
        }
      }
    }
  }
};

// A thread's part in a plan: among all and in its team, the team's memory, which is of plan.WorkSize(), and its own.
struct Place {
  Team all, team;
  float *in, *out, *spare;

  Place(const Plan& plan, float* work)
      : all{omp_get_thread_num(), omp_get_num_threads()},
        team(plan.together ? all : Team{0, 1}),
        in(work + (plan.together ? 0 : all.rank * plan.PerTeam())),
        out(in + kCoefficients * plan.InRows() * plan.channels),
        spare(work + plan.Teams() * plan.PerTeam() + all.rank * plan.spare_size) {}
};

// The coefficients of a slab's inputs, the slices before and after it that its taps reach included.
inline void ReadInput(const Problem& p, const Team& team, const float* x, int64_t b, int64_t first, int64_t tile,
                      int64_t tiles, Coefficients to, float* spare) {
  const int64_t across = p.TilesX();
  for (int64_t row = team.First(to.rows); row < team.Last(to.rows); ++row) {
    const int64_t slice = first - p.low_depth + row / tiles, t = tile + row % tiles;
    if (slice < 0 || slice >= p.depth) {
      for (int64_t i = 0; i < kCoefficients; ++i) {
        std::memset(to.Matrix(i) + row * to.channels, 0, to.channels * sizeof(float));
      }
      continue;
    }
    Read<BT>(x + (b * p.depth + slice) * p.in.Size(), p.in, t / across * kTile - p.low_y, t % across * kTile - p.low_x, to,
             row, spare);
  }
}

// y = x convolved with `kernel` [taps 3 3 C F]; or, `transposed`, with its taps reversed and C and F exchanged, which
// gives the gradient of an input.
inline void Forward(const Problem& p, const float* x, const float* kernel, bool transposed, float* y) {
  const Plan plan(p);
  const int64_t channels = plan.channels, features = plan.features, size = plan.size, across = p.TilesX();
  Scratch scratch(plan.taps_size + plan.WorkSize() + 16);
  float* const weights = scratch.Take(plan.taps_size);
  float* const work = scratch.Take(plan.WorkSize());
  Products products;
#pragma omp parallel num_threads(plan.threads)
  {
    const Place here(plan, work);
    const Team &all = here.all, &team = here.team;
    const int64_t blocks = p.taps * size / kLanes;
    for (int64_t i = all.First(blocks); i < all.Last(blocks); ++i) {
      const int64_t tap = i * kLanes / size, at = i * kLanes % size, from = transposed ? p.taps - 1 - tap : tap;
      ReadTaps(kernel + from * 9 * size + at, size, transposed, weights + tap * kCoefficients * size + at);
    }
    all.Wait();
    plan.ForSlabs(all, [&](int64_t b, int64_t d, int64_t slices, int64_t tile, int64_t tiles) {
      const Coefficients read{here.in, (slices + p.taps - 1) * tiles, channels}, found{here.out, slices * tiles, features};
      ReadInput(p, team, x, b, d, tile, tiles, read, here.spare);
      team.Wait();
      for (int64_t i = team.First(kCoefficients); i < team.Last(kCoefficients); ++i) {
        for (int64_t tap = 0; tap < p.taps; ++tap) {
          const float* const taps = weights + (tap * kCoefficients + i) * size;
          products.Multiply(found.rows, features, channels, 1.0f, {read.Matrix(i) + tap * tiles * channels, channels, 'N'},
                            {taps, transposed ? channels : features, transposed ? 'T' : 'N'}, tap ? 1.0f : 0.0f,
                            found.Matrix(i), features);
        }
      }
      team.Wait();
      for (int64_t row = team.First(found.rows); row < team.Last(found.rows); ++row) {
        const int64_t t = tile + row % tiles;
        float* const slice = y + (b * p.out_depth + d + row / tiles) * p.out.Size();
        Write(found, row, slice, p.out, t / across * kTile, t % across * kTile, here.spare);
      }
      team.Wait();
    });
  }
  products.Check();
}

// The gradient of the kernel [taps 3 3 C F], of the input x and the gradient g of the output.
inline void KernelGradient(const Problem& p, const float* x, const float* g, float* kernel) {
  const Plan plan(p);
  const int64_t channels = plan.channels, features = plan.features, size = plan.size, across = p.TilesX();
  Scratch scratch(plan.Teams() * plan.taps_size + plan.WorkSize() + 16);
  float* const sums = scratch.Take(plan.Teams() * plan.taps_size);
  float* const work = scratch.Take(plan.WorkSize());
  Products products;
#pragma omp parallel num_threads(plan.threads)
  {
    const Place here(plan, work);
    const Team &all = here.all, &team = here.team;
    float* const mine = sums + (plan.together ? 0 : all.rank * plan.taps_size);
    float before = 0.0f;
    plan.ForSlabs(all, [&](int64_t b, int64_t d, int64_t slices, int64_t tile, int64_t tiles) {
      const Coefficients read{here.in, (slices + p.taps - 1) * tiles, channels}, given{here.out, slices * tiles, features};
      ReadInput(p, team, x, b, d, tile, tiles, read, here.spare);
      for (int64_t row = team.First(given.rows); row < team.Last(given.rows); ++row) {
        const int64_t t = tile + row % tiles;
        const float* const slice = g + (b * p.out_depth + d + row / tiles) * p.out.Size();
        Read<A>(slice, p.out, t / across * kTile, t % across * kTile, given, row, here.spare);
      }
      team.Wait();
      for (int64_t i = team.First(p.taps * kCoefficients); i < team.Last(p.taps * kCoefficients); ++i) {
        const int64_t tap = i / kCoefficients, at = i % kCoefficients;
        products.Multiply(channels, features, given.rows, 1.0f, {read.Matrix(at) + tap * tiles * channels, channels, 'T'},
                          {given.Matrix(at), features, 'N'}, before, mine + i * size, features);
      }
      before = 1.0f;
      team.Wait();
    });
    if (before == 0.0f && !plan.together) std::memset(mine, 0, plan.taps_size * sizeof(float));  // had no slab
    all.Wait();
    const int64_t blocks = p.taps * size / kLanes;
    for (int64_t i = all.First(blocks); i < all.Last(blocks); ++i) {
      const int64_t tap = i * kLanes / size, at = i * kLanes % size, first = tap * kCoefficients * size + at;
      for (int64_t other = 1; other < std::min(plan.Teams(), all.size); ++other) {
        Add(sums + other * plan.taps_size + first, size, sums + first);
      }
      WriteTaps(sums + first, size, kernel + tap * 9 * size + at);
    }
  }
  products.Check();
}

}  // namespace winograd
