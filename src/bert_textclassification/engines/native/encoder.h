/* A BERT encoder with int8 weights: its architecture, its packed weights, and the batch of a call. */
#ifndef ENCODER_H
#define ENCODER_H

#include <stddef.h>
#include <stdint.h>

enum { PANEL = 64 }; /* output columns that are packed and multiplied together */
enum { MAX_EXITS = 4 };

/* y = x W^T + b with W of shape [outputs, inputs] in int8, one scale per output.
 *
 * `packed` has panels of PANEL outputs: [outputs / PANEL][inputs / 4][PANEL][4], the layout of the dot-product
 * instructions. An activation is x = scale * q + low with q in 0..255, so that
 * y = (weight_scale * scale) * sum(q w) + low * (weight_scale * sum(w)) + b; `weight_sum` is the last bracket. */
typedef struct {
    int inputs, outputs;
    int8_t *packed;
    float *scale, *weight_sum, *bias;
} Linear;

typedef struct {
    const float *weight, *bias;
} Norm;

typedef struct {
    Linear query_key_value, attention_output, expand, contract;
    Norm attention_norm, output_norm;
} Layer;

/* A classification layer over the mean of the tokens after layer number `exit_layer` (1 is the first). */
typedef struct {
    int exit_layer;
    const float *weight, *bias; /* [2, hidden_size], [2] */
} Head;

typedef struct {
    int num_hidden_layers, hidden_size, num_attention_heads, intermediate_size, vocab_size, max_position_embeddings;
    float layer_norm_eps;
    const int8_t *word;      /* [vocab_size, hidden_size] */
    const float *word_scale; /* [vocab_size] */
    const float *position;   /* [max_position_embeddings, hidden_size], the token type added */
    Norm embedding_norm;
    Layer *layer;
    int exits; /* head[exits - 1] follows the last layer */
    Head head[MAX_EXITS];
} Encoder;

/* The rows (tokens) of all texts, concatenated without padding. */
typedef struct {
    int texts, rows, longest;
    const int32_t *ids;           /* [rows] */
    const int32_t *lengths;       /* [texts] */
    const float *exit_thresholds; /* [exits - 1]: a text exits where its logits differ by at least this much */
    float *logits;                /* [texts, 2] */
    int32_t *exit_index;          /* [texts]: the index of the head that classified the text */
} Batch;

/* Fill the logits and exits of every text of the batch, in a workspace of encoder_workspace() bytes. */
typedef void Encode(const Encoder *, Batch *, void *workspace);

size_t encoder_workspace(const Encoder *, int rows, int texts, int longest);

/* Multiply and add `times` tiles of bytes; return the number of products. */
typedef int64_t Multiply(int times);

#endif
