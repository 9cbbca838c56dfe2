/* A BERT classifier's forward pass in bf16 on the matrix units of x86-64 processors (AMX), one thread a call.
 *
 * Texts lie behind one another without padding. Each matrix product does in the same pass what follows it (bias, GELU,
 * residual), so that its result is still in the cache. Sums, softmax, layer norms and residuals are in fp32. Of the last
 * layer only each text's first token is computed, which is all that the classification head reads.
 *
 * The caller (encoder.py) has checked shapes, ids and lengths, and has asked the kernel for the tiles; weights.py writes
 * the weights in the order in which they are taken here. Buffers end in spare rows: tiles read whole blocks of rows,
 * and what comes of the rows that are not there is never written.
 */
#include <immintrin.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

/* A tile has 16 rows of 64 bytes: 16 x 32 numbers in bf16, 16 x 16 in fp32. */
enum { ROWS = 16, DEPTH = 32, BLOCK = 2 * ROWS };

typedef struct {
    int32_t vocabulary, positions, width, heads, inner, layers, labels;
    float epsilon;
} Shape;

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* -- Weights: views of one read-only file, every part of which begins at a multiple of 64 bytes ------------------- */

/* [out / 16][in / 32] tiles, each as _tile_dpbf16ps wants its second factor: pairs of inputs side by side. */
typedef struct { const bf16 *weights; const float *bias; int in, out; } Product;
typedef struct { const float *weight, *bias; } Norm;
typedef struct { const bf16 *words; const float *positions; Norm norm; } Embeddings;
/* attend: queries, keys and values; queries are scaled so that softmax may take powers of 2. */
typedef struct { Product attend, mix; Norm mixed; Product widen, narrow; Norm done; } Layer;
typedef struct { Product pool; const float *classes, *bias; } Head;

typedef struct { const char *from; size_t taken; } Reader;

static const void *take(Reader *reader, size_t bytes) {
    const void *part = reader->from ? reader->from + reader->taken : NULL;
    reader->taken = round_up(reader->taken + bytes, 64);
    return part;
}

static Product take_product(Reader *reader, int in, int out) {
    const bf16 *weights = take(reader, (size_t)in * out * sizeof(bf16));
    return (Product){weights, take(reader, out * sizeof(float)), in, out};
}

static Norm take_norm(Reader *reader, int width) {
    const float *weight = take(reader, width * sizeof(float));
    return (Norm){weight, take(reader, width * sizeof(float))};
}

static Embeddings take_embeddings(Reader *reader, const Shape *shape) {
    Embeddings found;
    found.words = take(reader, (size_t)shape->vocabulary * shape->width * sizeof(bf16));
    found.positions = take(reader, (size_t)shape->positions * shape->width * sizeof(float));
    found.norm = take_norm(reader, shape->width);
    return found;
}

static Layer take_layer(Reader *reader, const Shape *shape) {
    Layer found;
    found.attend = take_product(reader, shape->width, 3 * shape->width);
    found.mix = take_product(reader, shape->width, shape->width);
    found.mixed = take_norm(reader, shape->width);
    found.widen = take_product(reader, shape->width, shape->inner);
    found.narrow = take_product(reader, shape->inner, shape->width);
    found.done = take_norm(reader, shape->width);
    return found;
}

static Head take_head(Reader *reader, const Shape *shape) {
    Head found;
    found.pool = take_product(reader, shape->width, shape->width);
    found.classes = take(reader, (size_t)shape->labels * shape->width * sizeof(float));
    found.bias = take(reader, shape->labels * sizeof(float));
    return found;
}

/* Bytes that the file of the weights must have. */
size_t weights_size(const Shape *shape) {
    Reader reader = {NULL, 0};
    take_embeddings(&reader, shape);
    for (int i = 0; i < shape->layers; i++) take_layer(&reader, shape);
    take_head(&reader, shape);
    return reader.taken;
}

/* -- Numbers, 16 at a time ---------------------------------------------------------------------------------------- */

static inline void store_bf16(bf16 *to, __m512 x) {
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x));
}

/* The bits of 16 bf16 numbers, each in the low half of its lane. */
static inline __m512i load_bits(const bf16 *from) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
}

static inline __m512 load_bf16(const bf16 *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(load_bits(from), 16));
}

/* 2^x: Taylor's polynomial of 2^f for f in [-0.5, 0.5], relative error 3e-6. */
static inline __m512 power_of_2(__m512 x) {
    const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 part = _mm512_sub_ps(x, whole);
    __m512 sum = _mm512_set1_ps(0.00133335581f);
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(0.00961812910f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(0.0555041087f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(0.240226507f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(0.693147181f));
    sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(sum, whole);
}

/* x * Phi(x), GELU by the error function: Phi(x) = 0.5 + x * R(x^2) on [-4, 4], where it is taken to reach 0 and 1. R is
 * the minimax polynomial of degree 6 (weighted by |x|, found by iterated least squares): absolute error below 2e-4, an
 * eightieth of bf16's step below 4. */
static inline __m512 gelu(__m512 x) {
    static const float factors[] = {-1.588827005e-06f, 4.776388515e-05f,  -8.121874721e-04f,
                                    8.763691074e-03f,  -6.455441269e-02f, 3.978702670e-01f};
    const __m512 near = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(4.0f)), _mm512_set1_ps(-4.0f));
    const __m512 square = _mm512_mul_ps(near, near);
    __m512 sum = _mm512_set1_ps(2.258820509e-08f);
    for (int i = 0; i < 6; i++) sum = _mm512_fmadd_ps(sum, square, _mm512_set1_ps(factors[i]));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(near, sum, _mm512_set1_ps(0.5f)));
}

/* 1 - 2 / (e^2x + 1) */
static inline __m512 tanh16(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
    const __m512 power = power_of_2(_mm512_mul_ps(x, _mm512_set1_ps(2.88539008f)));
    return _mm512_sub_ps(one, _mm512_div_ps(two, _mm512_add_ps(power, one)));
}

/* -- Matrix products ---------------------------------------------------------------------------------------------- */

/* All eight tiles whole. A constant: gcc does not know how much of it the instruction reads, and would drop stores. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} WHOLE_TILES = {
    .palette = 1,
    .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS, ROWS},
};

/* Nor does it know that loading a tile reads memory, and storing one writes it: all of it is done where this stands. */
static inline void settle(void) { __asm__ volatile("" ::: "memory"); }

/* What is done with the sums of a product. */
typedef enum { ROUND, GELU, RESIDUAL, TANH } Then;
/* Where the results go, in rows of `stride` numbers: bf16 for ROUND and GELU, fp32 for RESIDUAL and TANH. */
typedef struct { bf16 *rounded; float *exact; const float *residual; size_t stride; } Result;

static inline __attribute__((always_inline)) void finish(Then then, __m512 x, Result to, size_t at) {
    if (then == ROUND) store_bf16(to.rounded + at, x);
    if (then == GELU) store_bf16(to.rounded + at, gelu(x));
    if (then == RESIDUAL) _mm512_storeu_ps(to.exact + at, _mm512_add_ps(x, _mm512_loadu_ps(to.residual + at)));
    if (then == TANH) _mm512_storeu_ps(to.exact + at, tanh16(x));
}

/* A block of 32 x 32 sums that waits for what is done with it: the rows from `done` to `count`. */
typedef struct { const float *sums, *bias; int row, column, done, count; } Block;

static inline __attribute__((always_inline)) void finish_rows(Then then, Block *block, int rows, Result to) {
    const int until = block->done + rows < block->count ? block->done + rows : block->count;
    const __m512 left = _mm512_loadu_ps(block->bias), right = _mm512_loadu_ps(block->bias + ROWS);
    for (; block->done < until; block->done++) {
        const size_t at = (block->row + block->done) * to.stride + block->column;
        const float *sums = block->sums + block->done * BLOCK;
        finish(then, _mm512_add_ps(_mm512_load_ps(sums), left), to, at);
        finish(then, _mm512_add_ps(_mm512_load_ps(sums + ROWS), right), to, at + ROWS);
    }
}

/* rows x by.in numbers, in rows of `stride`, times the weights. Blocks of 32 x 32 results: four tiles of sums, two of
 * either factor. While the matrix unit sums up a block, the vector units finish the one before, a few rows a step. */
static inline __attribute__((always_inline)) void multiply(
    Then then, const bf16 *from, size_t stride, int rows, Product by, Result to) {
    float sums[2][BLOCK * BLOCK] __attribute__((aligned(64)));
    const int steps = by.in / DEPTH, row_bytes = (int)(stride * sizeof(bf16)), sums_bytes = BLOCK * sizeof(float);
    const int rows_a_step = (BLOCK + steps - 1) / steps;
    Block before = {sums[1], by.bias, 0, 0, 0, 0};
    int turn = 0;
    settle();
    for (int column = 0; column < by.out; column += BLOCK) {
        const bf16 *left = by.weights + (size_t)column * by.in, *right = left + (size_t)ROWS * by.in;
        for (int row = 0; row < rows; row += BLOCK, turn = !turn) {
            const bf16 *upper = from + row * stride, *lower = upper + ROWS * stride;
            const int count = rows - row < BLOCK ? rows - row : BLOCK;
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
            for (int step = 0; step < steps; step++) {
                _tile_loadd(4, upper + step * DEPTH, row_bytes);
                _tile_loadd(6, left + step * ROWS * DEPTH, 64);
                _tile_loadd(7, right + step * ROWS * DEPTH, 64);
                _tile_dpbf16ps(0, 4, 6);
                _tile_dpbf16ps(1, 4, 7);
                if (count > ROWS) {
                    _tile_loadd(5, lower + step * DEPTH, row_bytes);
                    _tile_dpbf16ps(2, 5, 6);
                    _tile_dpbf16ps(3, 5, 7);
                }
                finish_rows(then, &before, rows_a_step, to);
            }
            float *now = sums[turn];
            _tile_stored(0, now, sums_bytes);
            _tile_stored(1, now + ROWS, sums_bytes);
            _tile_stored(2, now + ROWS * BLOCK, sums_bytes);
            _tile_stored(3, now + ROWS * BLOCK + ROWS, sums_bytes);
            settle();
            before = (Block){now, by.bias + column, row, column, 0, count};
        }
    }
    finish_rows(then, &before, BLOCK, to);
}

/* Each with its own end in the innermost loop. */
static void product(const bf16 *from, size_t stride, int rows, Product by, Result to) {
    multiply(ROUND, from, stride, rows, by, to);
}
static void product_gelu(const bf16 *from, size_t stride, int rows, Product by, Result to) {
    multiply(GELU, from, stride, rows, by, to);
}
static void product_residual(const bf16 *from, size_t stride, int rows, Product by, Result to) {
    multiply(RESIDUAL, from, stride, rows, by, to);
}
static void product_tanh(const bf16 *from, size_t stride, int rows, Product by, Result to) {
    multiply(TANH, from, stride, rows, by, to);
}

/* -- Layer norm ---------------------------------------------------------------------------------------------------- */

/* In place, and in bf16 for the products that come next. */
static void normalise(float *states, bf16 *rounded, int rows, int width, Norm by, float epsilon) {
    for (int row = 0; row < rows; row++, states += width, rounded += width) {
        __m512 sum = _mm512_setzero_ps(), squares = _mm512_setzero_ps();
        for (int i = 0; i < width; i += 16) sum = _mm512_add_ps(sum, _mm512_loadu_ps(states + i));
        const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) / width);
        for (int i = 0; i < width; i += 16) {
            const __m512 apart = _mm512_sub_ps(_mm512_loadu_ps(states + i), mean);
            squares = _mm512_fmadd_ps(apart, apart, squares);
        }
        const __m512 scale = _mm512_set1_ps(1.0f / sqrtf(_mm512_reduce_add_ps(squares) / width + epsilon));
        for (int i = 0; i < width; i += 16) {
            const __m512 apart = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(states + i), mean), scale);
            const __m512 x = _mm512_fmadd_ps(apart, _mm512_loadu_ps(by.weight + i), _mm512_loadu_ps(by.bias + i));
            _mm512_storeu_ps(states + i, x);
            store_bf16(rounded + i, x);
        }
    }
}

/* -- Attention of one head in one text ------------------------------------------------------------------------------ */

/* Keys and values as tiles, and for 16 queries at a time the scores and the shares that they become. */
typedef struct { bf16 *keys, *values, *shares; float *scores; } Desk;

/* 16 rows of 32 numbers, of which `rows` are there (the others count as 0): pairs of numbers from row i, place j to row
 * j, place i. */
static inline void transpose_pairs(const bf16 *from, size_t stride, int rows, bf16 *to) {
    __m512i a[16], b[16];
    for (int i = 0; i < 16; i++) a[i] = i < rows ? _mm512_loadu_si512(from + i * stride) : _mm512_setzero_si512();
    for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        b[i] = _mm512_shuffle_i32x4(a[i], a[4 + i], 0x88);
        b[4 + i] = _mm512_shuffle_i32x4(a[i], a[4 + i], 0xdd);
        b[8 + i] = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0x88);
        b[12 + i] = _mm512_shuffle_i32x4(a[8 + i], a[12 + i], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        _mm512_storeu_si512(to + i * DEPTH, _mm512_shuffle_i32x4(b[i], b[8 + i], 0x88));
        _mm512_storeu_si512(to + (4 + i) * DEPTH, _mm512_shuffle_i32x4(b[4 + i], b[12 + i], 0x88));
        _mm512_storeu_si512(to + (8 + i) * DEPTH, _mm512_shuffle_i32x4(b[i], b[8 + i], 0xdd));
        _mm512_storeu_si512(to + (12 + i) * DEPTH, _mm512_shuffle_i32x4(b[4 + i], b[12 + i], 0xdd));
    }
}

/* Two rows of 16 numbers, of which `rows` are there, as pairs. */
static inline void pair_rows(const bf16 *from, size_t stride, int rows, bf16 *to) {
    const __m512i first = rows > 0 ? load_bits(from) : _mm512_setzero_si512();
    const __m512i second = rows > 1 ? load_bits(from + stride) : _mm512_setzero_si512();
    _mm512_storeu_si512(to, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
}

/* Softmax without its division: 2^(score - largest) in bf16, 0 from `length` on; 1 / their sum is returned. */
static inline float softmax(const float *scores, int length, bf16 *shares) {
    const int last = (int)round_up(length, 16) - 16;
    const __mmask16 there = (__mmask16)(0xffffu >> (16 - (length - last)));
    __m512 most = _mm512_mask_loadu_ps(_mm512_set1_ps(-INFINITY), there, scores + last);
    for (int i = 0; i < last; i += 16) most = _mm512_max_ps(most, _mm512_loadu_ps(scores + i));
    most = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512 sum = _mm512_setzero_ps();
    for (int i = 0; i <= last; i += 16) {
        __m512 x = power_of_2(_mm512_sub_ps(_mm512_loadu_ps(scores + i), most));
        if (i == last) x = _mm512_maskz_mov_ps(there, x);
        sum = _mm512_add_ps(sum, x);
        store_bf16(shares + i, x);
    }
    if ((last + 16) % DEPTH) _mm256_storeu_si256((__m256i *)(shares + last + 16), _mm256_setzero_si256());
    return 1.0f / _mm512_reduce_add_ps(sum);
}

/* `queries` rows of `size` numbers look at `length` keys and values, rows of `stride`. */
static void attend(const bf16 *query, size_t query_stride, int queries, const bf16 *keys, const bf16 *values,
                   size_t stride, int length, int size, bf16 *to, size_t to_stride, Desk desk) {
    const int wide = (int)round_up(length, DEPTH), steps = wide / DEPTH, parts = size / DEPTH;
    for (int t = 0; t < length; t += ROWS)
        for (int part = 0; part < parts; part++)
            transpose_pairs(keys + t * stride + part * DEPTH, stride, length - t,
                            desk.keys + (size_t)(t * parts + part * ROWS) * DEPTH);
    for (int c = 0; c < size; c += ROWS)
        for (int t = 0; t < wide; t += 2)
            pair_rows(values + t * stride + c, stride, length - t, desk.values + (size_t)c * wide + t * ROWS);
    settle();
    for (int row = 0; row < queries; row += ROWS) {
        const int count = queries - row < ROWS ? queries - row : ROWS;
        for (int t = 0; t < length; t += ROWS) {
            _tile_zero(0);
            for (int part = 0; part < parts; part++) {
                _tile_loadd(4, query + row * query_stride + part * DEPTH, (int)(query_stride * sizeof(bf16)));
                _tile_loadd(6, desk.keys + (size_t)(t * parts + part * ROWS) * DEPTH, 64);
                _tile_dpbf16ps(0, 4, 6);
            }
            _tile_stored(0, desk.scores + t, (int)(wide * sizeof(float)));
        }
        settle();
        float scale[ROWS], sums[ROWS * ROWS] __attribute__((aligned(64)));
        for (int i = 0; i < count; i++)
            scale[i] = softmax(desk.scores + (size_t)i * wide, length, desk.shares + (size_t)i * wide);
        settle();
        for (int c = 0; c < size; c += ROWS) {
            _tile_zero(0);
            for (int step = 0; step < steps; step++) {
                _tile_loadd(4, desk.shares + step * DEPTH, (int)(wide * sizeof(bf16)));
                _tile_loadd(6, desk.values + (size_t)c * wide + step * ROWS * DEPTH, 64);
                _tile_dpbf16ps(0, 4, 6);
            }
            _tile_stored(0, sums, 64);
            settle();
            for (int i = 0; i < count; i++) {
                const __m512 x = _mm512_mul_ps(_mm512_load_ps(sums + i * ROWS), _mm512_set1_ps(scale[i]));
                store_bf16(to + (row + i) * to_stride + c, x);
            }
        }
    }
}

/* -- The model ------------------------------------------------------------------------------------------------------ */

/* What a layer works with, a row a token: states and, within a layer, what attention added to them; both rounded. */
typedef struct { float *states, *middle; bf16 *rounded, *mixed, *inner; } Rows;
typedef struct { Rows all, first; bf16 *attended, *queries; float *pooled; Desk desk; } Memory;

static void *claim(char *from, size_t *claimed, size_t bytes) {
    void *part = from ? from + *claimed : NULL;
    *claimed = round_up(*claimed + bytes, 64);
    return part;
}

static Rows claim_rows(char *from, size_t *claimed, const Shape *shape, size_t rows) {
    Rows found;
    found.states = claim(from, claimed, rows * shape->width * sizeof(float));
    found.middle = claim(from, claimed, rows * shape->width * sizeof(float));
    found.rounded = claim(from, claimed, rows * shape->width * sizeof(bf16));
    found.mixed = claim(from, claimed, rows * shape->width * sizeof(bf16));
    found.inner = claim(from, claimed, rows * shape->inner * sizeof(bf16));
    return found;
}

static Memory claim_all(char *from, size_t *claimed, const Shape *shape, int tokens, int texts, int longest) {
    const size_t all = round_up(tokens, BLOCK) + BLOCK, first = round_up(texts, BLOCK) + BLOCK;
    const size_t wide = round_up(longest, DEPTH), size = shape->width / shape->heads;
    Memory found;
    found.all = claim_rows(from, claimed, shape, all);
    found.first = claim_rows(from, claimed, shape, first);
    found.attended = claim(from, claimed, all * 3 * shape->width * sizeof(bf16));
    found.queries = claim(from, claimed, first * shape->width * sizeof(bf16));
    found.pooled = claim(from, claimed, first * shape->width * sizeof(float));
    found.desk.keys = claim(from, claimed, wide * size * sizeof(bf16));
    found.desk.values = claim(from, claimed, wide * size * sizeof(bf16));
    found.desk.shares = claim(from, claimed, ROWS * wide * sizeof(bf16));
    found.desk.scores = claim(from, claimed, ROWS * wide * sizeof(float));
    return found;
}

/* Bytes of memory that `encode` needs for these texts, aligned to 64. */
size_t memory_size(const Shape *shape, int32_t tokens, int32_t texts, int32_t longest) {
    size_t claimed = 0;
    claim_all(NULL, &claimed, shape, tokens, texts, longest);
    return claimed;
}

static void embed(const Shape *shape, Embeddings by, const int32_t *ids, const int32_t *starts, int texts, Rows to) {
    const size_t width = shape->width;
    for (int text = 0; text < texts; text++)
        for (int t = starts[text]; t < starts[text + 1]; t++) {
            const bf16 *word = by.words + ids[t] * width;
            const float *position = by.positions + (t - starts[text]) * width;
            for (size_t i = 0; i < width; i += 16)
                _mm512_storeu_ps(to.states + t * width + i,
                                 _mm512_add_ps(load_bf16(word + i), _mm512_loadu_ps(position + i)));
        }
    normalise(to.states, to.rounded, starts[texts], shape->width, by.norm, shape->epsilon);
}

/* What a layer does after attention, in place. */
static void feed_forward(const Shape *shape, const Layer *by, int rows, Rows of) {
    const size_t width = shape->width, inner = shape->inner;
    product_residual(of.mixed, width, rows, by->mix,
                     (Result){.exact = of.middle, .residual = of.states, .stride = width});
    normalise(of.middle, of.rounded, rows, shape->width, by->mixed, shape->epsilon);
    product_gelu(of.rounded, width, rows, by->widen, (Result){.rounded = of.inner, .stride = inner});
    product_residual(of.inner, inner, rows, by->narrow,
                     (Result){.exact = of.states, .residual = of.middle, .stride = width});
    normalise(of.states, of.rounded, rows, shape->width, by->done, shape->epsilon);
}

static void layer(const Shape *shape, const Layer *by, const int32_t *starts, int texts, Memory in) {
    const size_t width = shape->width, stride = 3 * width;
    const int size = shape->width / shape->heads;
    product(in.all.rounded, width, starts[texts], by->attend, (Result){.rounded = in.attended, .stride = stride});
    for (int text = 0; text < texts; text++)
        for (int head = 0; head < shape->heads; head++) {
            const int length = starts[text + 1] - starts[text];
            const bf16 *query = in.attended + starts[text] * stride + head * size;
            attend(query, stride, length, query + width, query + 2 * width, stride, length, size,
                   in.all.mixed + starts[text] * width + head * size, width, in.desk);
        }
    feed_forward(shape, by, starts[texts], in.all);
}

static void last_layer(const Shape *shape, const Layer *by, const int32_t *starts, int texts, Memory in) {
    const size_t width = shape->width, stride = 2 * width;
    const int size = shape->width / shape->heads;
    const Product attend_by = by->attend;
    const Product queries = {attend_by.weights, attend_by.bias, shape->width, shape->width};
    const Product others = {attend_by.weights + width * width, attend_by.bias + width, shape->width, (int)stride};
    for (int text = 0; text < texts; text++) {
        memcpy(in.first.states + text * width, in.all.states + starts[text] * width, width * sizeof(float));
        memcpy(in.first.rounded + text * width, in.all.rounded + starts[text] * width, width * sizeof(bf16));
    }
    product(in.first.rounded, width, texts, queries, (Result){.rounded = in.queries, .stride = width});
    product(in.all.rounded, width, starts[texts], others, (Result){.rounded = in.attended, .stride = stride});
    for (int text = 0; text < texts; text++)
        for (int head = 0; head < shape->heads; head++) {
            const bf16 *key = in.attended + starts[text] * stride + head * size;
            attend(in.queries + text * width + head * size, width, 1, key, key + width, stride,
                   starts[text + 1] - starts[text], size, in.first.mixed + text * width + head * size, width, in.desk);
        }
    feed_forward(shape, by, texts, in.first);
}

static void mean(const Shape *shape, const float *states, const int32_t *starts, int texts, float *to) {
    const size_t width = shape->width;
    for (int text = 0; text < texts; text++)
        for (size_t i = 0; i < width; i += 16) {
            __m512 sum = _mm512_setzero_ps();
            for (int t = starts[text]; t < starts[text + 1]; t++)
                sum = _mm512_add_ps(sum, _mm512_loadu_ps(states + t * width + i));
            const __m512 share = _mm512_set1_ps(1.0f / (float)(starts[text + 1] - starts[text]));
            _mm512_storeu_ps(to + text * width + i, _mm512_mul_ps(sum, share));
        }
}

static void classify(const Shape *shape, Head by, int texts, Rows first, float *pooled, float *logits) {
    const size_t width = shape->width;
    product_tanh(first.rounded, width, texts, by.pool, (Result){.exact = pooled, .stride = width});
    for (int text = 0; text < texts; text++)
        for (int label = 0; label < shape->labels; label++) {
            __m512 sum = _mm512_setzero_ps();
            for (size_t i = 0; i < width; i += 16)
                sum = _mm512_fmadd_ps(_mm512_loadu_ps(pooled + text * width + i),
                                      _mm512_loadu_ps(by.classes + label * width + i), sum);
            logits[text * shape->labels + label] = _mm512_reduce_add_ps(sum) + by.bias[label];
        }
}

/* Logits [texts, labels] and embeddings [texts, width], the means of what the last layer is given, of texts whose ids
 * are those from starts[i] to starts[i + 1]. Each has at least one and at most `positions`. */
void encode(const Shape *shape, const void *weights, const int32_t *ids, const int32_t *starts, int32_t texts,
            void *memory, float *logits, float *embeddings) {
    int longest = 0;
    for (int text = 0; text < texts; text++)
        if (starts[text + 1] - starts[text] > longest) longest = starts[text + 1] - starts[text];
    size_t claimed = 0;
    const Memory in = claim_all(memory, &claimed, shape, starts[texts], texts, longest);
    Reader reader = {weights, 0};
    _tile_loadconfig(&WHOLE_TILES);
    embed(shape, take_embeddings(&reader, shape), ids, starts, texts, in.all);
    for (int i = 0; i < shape->layers - 1; i++) {
        const Layer by = take_layer(&reader, shape);
        layer(shape, &by, starts, texts, in);
    }
    mean(shape, in.all.states, starts, texts, embeddings);
    const Layer by = take_layer(&reader, shape);
    last_layer(shape, &by, starts, texts, in);
    classify(shape, take_head(&reader, shape), texts, in.first, in.pooled, logits);
    _tile_release();
}
