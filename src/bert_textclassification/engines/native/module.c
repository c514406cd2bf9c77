/* The Python module: loads weights from buffers; token ids in, logits out. All input is validated here and not in the
 * kernels, so that no file and no request can cause an access out of bounds. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "instruction_sets.h"

enum { HUGE_PAGE = 2 << 20 };

typedef struct Workspace {
    struct Workspace *next;
    size_t size;
} Workspace;

typedef struct {
    PyObject_HEAD
    Encoder encoder;
    Encode *encode;
    Workspace *free;             /* guarded by the GIL */
    char *memory, *unused, *end; /* one block for all weights, on huge pages if available */
} Object;

size_t encoder_workspace(const Encoder *e, int rows, int texts, int longest) {
    size_t widest = e->intermediate_size > 3 * e->hidden_size ? e->intermediate_size : 3 * e->hidden_size,
           padded = (longest + 15) / 16 * 16;
    size_t floats = rows * (2 * (size_t)e->hidden_size + widest) +
                    padded * (e->hidden_size / e->num_attention_heads + 4) + 2 * (size_t)rows;
    return 4 * (floats + 2 * (size_t)texts) + rows * widest;
}

/* ---- instruction sets */

#define ENTRY_ADDRESS(name) &instruction_set_##name,
static const InstructionSet *const instruction_sets[] = {INSTRUCTION_SETS(ENTRY_ADDRESS) NULL};

/* The entry of an instruction set that this processor supports; NULL with an exception if there is none. */
static const InstructionSet *supported(const char *name) {
    for (const InstructionSet *const *set = instruction_sets; *set; set++)
        if (!strcmp((*set)->name, name) && (*set)->is_supported()) return *set;
    PyErr_Format(PyExc_ValueError, "this processor has no kernels for %s", name);
    return NULL;
}

/* ---- weights */

static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* Allocate from the block; NULL with an exception if it is too small, which is a mistake in weight_bytes. */
static void *take(Object *self, size_t bytes) {
    char *start = self->unused;
    if (rounded(bytes) > (size_t)(self->end - start)) {
        PyErr_SetString(PyExc_SystemError, "the block of the weights is too small");
        return NULL;
    }
    self->unused += rounded(bytes);
    return start;
}

static size_t linear_bytes(size_t outputs, size_t inputs) {
    return rounded(outputs * inputs) + 3 * rounded(4 * outputs);
}

static size_t weight_bytes(const Encoder *e) {
    size_t hidden = e->hidden_size, expanded = e->intermediate_size, norm = 2 * rounded(4 * hidden);
    size_t layer = linear_bytes(3 * hidden, hidden) + linear_bytes(hidden, hidden) + linear_bytes(expanded, hidden) +
                   linear_bytes(hidden, expanded) + 2 * norm;
    size_t embeddings = rounded(e->vocab_size * hidden) + rounded(4 * e->vocab_size) +
                        rounded(4 * e->max_position_embeddings * hidden) + norm;
    return embeddings + e->num_hidden_layers * layer + e->exits * (rounded(8 * hidden) + rounded(8)) +
           2 * rounded(e->num_hidden_layers * sizeof(Layer));
}

static int allocate(Object *self, size_t bytes) {
    void *memory = NULL;
    size_t size = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (posix_memalign(&memory, HUGE_PAGE, size)) {
        PyErr_NoMemory();
        return -1;
    }
#if defined(MADV_HUGEPAGE)
    (void)madvise(memory, size, MADV_HUGEPAGE); /* optional: slightly faster */
#endif
    self->memory = self->unused = memory;
    self->end = self->memory + size;
    return 0;
}

/* Copy item `index` of a sequence of buffers into the block; it must have `bytes` bytes. */
static void *copied(Object *self, PyObject *buffers, Py_ssize_t index, size_t bytes) {
    Py_buffer view;
    PyObject *item = PySequence_GetItem(buffers, index);
    if (item == NULL) return NULL;
    int failed = PyObject_GetBuffer(item, &view, PyBUF_C_CONTIGUOUS);
    Py_DECREF(item);
    if (failed) return NULL;
    void *to = NULL;
    if ((size_t)view.len != bytes)
        PyErr_Format(PyExc_ValueError, "tensor %zd has %zd bytes, but the configuration needs %zu", index, view.len,
                     bytes);
    else to = take(self, bytes);
    if (to != NULL) memcpy(to, view.buf, bytes);
    PyBuffer_Release(&view);
    return to;
}

static int read_norm(Object *self, PyObject *buffers, Py_ssize_t *next, Norm *norm) {
    size_t bytes = 4 * (size_t)self->encoder.hidden_size;
    if ((norm->weight = copied(self, buffers, (*next)++, bytes)) == NULL) return -1;
    return (norm->bias = copied(self, buffers, (*next)++, bytes)) == NULL ? -1 : 0;
}

/* Pack a tensor [outputs, inputs] into panels, and compute the sums of its rows. */
static int read_linear(Object *self, PyObject *buffers, Py_ssize_t *next, int outputs, int inputs, Linear *w) {
    Py_buffer view;
    PyObject *item = PySequence_GetItem(buffers, *next);
    if (item == NULL) return -1;
    int failed = PyObject_GetBuffer(item, &view, PyBUF_C_CONTIGUOUS);
    Py_DECREF(item);
    if (failed) return -1;
    if (view.len != (Py_ssize_t)outputs * inputs) {
        PyErr_Format(PyExc_ValueError, "tensor %zd has %zd bytes, but the configuration needs %d", *next, view.len,
                     outputs * inputs);
        PyBuffer_Release(&view);
        return -1;
    }
    *next += 1;
    w->outputs = outputs;
    w->inputs = inputs;
    w->packed = take(self, (size_t)outputs * inputs);
    w->weight_sum = take(self, 4 * (size_t)outputs);
    if (w->packed == NULL || w->weight_sum == NULL) {
        PyBuffer_Release(&view);
        return -1;
    }
    const int8_t *from = view.buf;
    for (int row = 0; row < outputs; row++, from += inputs) {
        int8_t *to = w->packed + (size_t)(row / PANEL) * PANEL * inputs + row % PANEL * 4;
        int32_t sum = 0;
        for (int k = 0; k < inputs; k += 4, to += PANEL * 4) memcpy(to, from + k, 4);
        for (int k = 0; k < inputs; k++) sum += from[k];
        w->weight_sum[row] = (float)sum;
    }
    PyBuffer_Release(&view);
    if ((w->scale = copied(self, buffers, (*next)++, 4 * (size_t)outputs)) == NULL) return -1;
    if ((w->bias = copied(self, buffers, (*next)++, 4 * (size_t)outputs)) == NULL) return -1;
    for (int row = 0; row < outputs; row++) w->weight_sum[row] *= w->scale[row];
    return 0;
}

static int read_weights(Object *self, PyObject *buffers) {
    Encoder *e = &self->encoder;
    size_t hidden = e->hidden_size, words = e->vocab_size;
    Py_ssize_t next = 0;
    if ((e->word = copied(self, buffers, next++, words * hidden)) == NULL) return -1;
    if ((e->word_scale = copied(self, buffers, next++, 4 * words)) == NULL) return -1;
    if ((e->position = copied(self, buffers, next++, 4 * e->max_position_embeddings * hidden)) == NULL) return -1;
    if (read_norm(self, buffers, &next, &e->embedding_norm)) return -1;
    if ((e->layer = take(self, e->num_hidden_layers * sizeof(Layer))) == NULL) return -1;
    for (int i = 0; i < e->num_hidden_layers; i++) {
        Layer *layer = &e->layer[i];
        if (read_linear(self, buffers, &next, 3 * e->hidden_size, e->hidden_size, &layer->query_key_value)) return -1;
        if (read_linear(self, buffers, &next, e->hidden_size, e->hidden_size, &layer->attention_output)) return -1;
        if (read_norm(self, buffers, &next, &layer->attention_norm)) return -1;
        if (read_linear(self, buffers, &next, e->intermediate_size, e->hidden_size, &layer->expand)) return -1;
        if (read_linear(self, buffers, &next, e->hidden_size, e->intermediate_size, &layer->contract)) return -1;
        if (read_norm(self, buffers, &next, &layer->output_norm)) return -1;
    }
    for (int i = 0; i < e->exits; i++) {
        if ((e->head[i].weight = copied(self, buffers, next++, 8 * hidden)) == NULL) return -1;
        if ((e->head[i].bias = copied(self, buffers, next++, 8)) == NULL) return -1;
    }
    return 0;
}

static const char *problem_of(const Encoder *e) {
    if (e->num_hidden_layers < 1 || e->num_hidden_layers > 96 || e->vocab_size < 1 || e->vocab_size > 1 << 21)
        return "num_hidden_layers or vocab_size is out of range";
    if (e->max_position_embeddings < 1 || e->max_position_embeddings > 1 << 14)
        return "max_position_embeddings is out of range";
    if (e->hidden_size < PANEL || e->hidden_size > 4096 || e->hidden_size % PANEL)
        return "hidden_size must be a multiple of 64";
    if (e->intermediate_size < PANEL || e->intermediate_size > 16384 || e->intermediate_size % PANEL)
        return "intermediate_size must be a multiple of 64";
    if (e->num_attention_heads < 1 || e->hidden_size % e->num_attention_heads ||
        e->hidden_size / e->num_attention_heads % 32)
        return "hidden_size / num_attention_heads must be a multiple of 32";
    if (e->exits < 1 || e->exits > MAX_EXITS) return "supported must be 1 to 4 classification layers";
    for (int i = 0; i < e->exits; i++)
        if (e->head[i].exit_layer <= (i ? e->head[i - 1].exit_layer : 0))
            return "the classification layers must be in order";
    return e->head[e->exits - 1].exit_layer == e->num_hidden_layers
               ? NULL
               : "a classification layer must follow the last layer";
}

/* ---- the type */

static PyObject *encoder_new(PyTypeObject *type, PyObject *args, PyObject *names) {
    static char *keywords[] = {"num_hidden_layers", "hidden_size", "num_attention_heads",
                               "intermediate_size", "vocab_size",  "max_position_embeddings",
                               "layer_norm_eps",    "exit_layers", "tensors",
                               "instructions",      NULL};
    Encoder e = {0};
    PyObject *exit_layers, *tensors;
    const char *instructions;
    double epsilon;
    if (!PyArg_ParseTupleAndKeywords(args, names, "iiiiiidOOs", keywords, &e.num_hidden_layers, &e.hidden_size,
                                     &e.num_attention_heads, &e.intermediate_size, &e.vocab_size,
                                     &e.max_position_embeddings, &epsilon, &exit_layers, &tensors, &instructions))
        return NULL;
    e.layer_norm_eps = (float)epsilon;
    Py_ssize_t exits = PySequence_Size(exit_layers);
    if (exits < 0) return NULL;
    for (e.exits = 0; e.exits < exits && e.exits < MAX_EXITS; e.exits++) {
        PyObject *item = PySequence_GetItem(exit_layers, e.exits);
        if (item == NULL) return NULL;
        e.head[e.exits].exit_layer = (int)PyLong_AsLong(item);
        Py_DECREF(item);
        if (PyErr_Occurred()) return NULL;
    }
    const char *problem = exits > MAX_EXITS ? "supported are too many classification layers" : problem_of(&e);
    if (problem) {
        PyErr_SetString(PyExc_ValueError, problem);
        return NULL;
    }
    const InstructionSet *set = supported(instructions);
    if (set == NULL) return NULL;
    allocfunc alloc = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Object *self = (Object *)alloc(type, 0);
    if (self == NULL) return NULL;
    self->encoder = e;
    self->encode = set->encode;
    if (allocate(self, weight_bytes(&e)) || read_weights(self, tensors)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void encoder_dealloc(PyObject *object) {
    Object *self = (Object *)object;
    for (Workspace *next; self->free; self->free = next) {
        next = self->free->next;
        free(self->free);
    }
    free(self->memory);
    PyTypeObject *type = Py_TYPE(object);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(object);
    Py_DECREF(type);
}

/* Reuse the workspace of an earlier call or allocate a new one; reuse avoids page faults. */
static Workspace *workspace_of(Object *self, size_t size) {
    Workspace *workspace = self->free;
    if (workspace) self->free = workspace->next;
    if (workspace && workspace->size >= size) return workspace;
    free(workspace);
    size_t all = (sizeof(Workspace) + 63) / 64 * 64 + size + size / 4;
    workspace = aligned_alloc(64, (all + 63) / 64 * 64);
    if (workspace) workspace->size = size + size / 4;
    return workspace;
}

static const char *check(const Encoder *e, Batch *batch, Py_buffer *ids, Py_buffer *lengths, Py_buffer *logits,
                         Py_buffer *exit_index, Py_buffer *exit_thresholds) {
    batch->rows = (int)(ids->len / 4);
    batch->texts = (int)(lengths->len / 4);
    if (ids->len > 1 << 24) return "too many tokens in one call";
    if (logits->len != 8 * (Py_ssize_t)batch->texts || exit_index->len != 4 * (Py_ssize_t)batch->texts)
        return "logits must be float32 [texts, 2] and exit_index int32 [texts]";
    if (exit_thresholds->len != 4 * (Py_ssize_t)(e->exits - 1))
        return "supported must be one exit threshold for each exit except the last";
    batch->ids = ids->buf, batch->lengths = lengths->buf, batch->logits = logits->buf;
    batch->exit_index = exit_index->buf, batch->exit_thresholds = exit_thresholds->buf;
    int64_t total = 0;
    for (int i = 0; i < batch->texts; i++) {
        int length = batch->lengths[i];
        if (length < 1 || length > e->max_position_embeddings)
            return "a text has no token or more than max_position_embeddings";
        if (length > batch->longest) batch->longest = length;
        total += length;
    }
    if (total != batch->rows) return "the lengths do not add up to the number of ids";
    for (int i = 0; i < batch->rows; i++)
        if (batch->ids[i] < 0 || batch->ids[i] >= e->vocab_size) return "a token id is not in the model's vocabulary";
    return NULL;
}

static PyObject *encoder_run(PyObject *object, PyObject *args) {
    Object *self = (Object *)object;
    Py_buffer ids, lengths, exit_thresholds, logits, exit_index;
    if (!PyArg_ParseTuple(args, "y*y*y*w*w*", &ids, &lengths, &exit_thresholds, &logits, &exit_index)) return NULL;
    Batch batch = {0};
    const char *problem = check(&self->encoder, &batch, &ids, &lengths, &logits, &exit_index, &exit_thresholds);
    Workspace *workspace = NULL;
    if (problem) PyErr_SetString(PyExc_ValueError, problem);
    else if ((workspace = workspace_of(
                  self, encoder_workspace(&self->encoder, batch.rows, batch.texts, batch.longest))) == NULL)
        PyErr_NoMemory();
    if (workspace) {
        Py_BEGIN_ALLOW_THREADS
        self->encode(&self->encoder, &batch, (char *)workspace + (sizeof(Workspace) + 63) / 64 * 64);
        Py_END_ALLOW_THREADS
        workspace->next = self->free;
        self->free = workspace;
    }
    PyBuffer_Release(&ids);
    PyBuffer_Release(&lengths);
    PyBuffer_Release(&exit_thresholds);
    PyBuffer_Release(&logits);
    PyBuffer_Release(&exit_index);
    if (workspace == NULL) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef encoder_methods[] = {
    {"run", encoder_run, METH_VARARGS,
     "run(ids, lengths, exit_thresholds, logits, exit_index): fill logits, float32 [texts, 2], and exit_index, int32 "
     "[texts].\n\n"
     "ids, int32, has the concatenated tokens of all texts; lengths, int32, has the number of tokens of each."},
    {NULL}};

static PyType_Slot encoder_slots[] = {{Py_tp_new, encoder_new},
                                      {Py_tp_dealloc, encoder_dealloc},
                                      {Py_tp_methods, encoder_methods},
                                      {Py_tp_doc, "A BERT encoder with int8 weights."},
                                      {0, NULL}};
static PyType_Spec encoder_spec = {"bert_textclassification.engines.native._native.Encoder", sizeof(Object), 0,
                                   Py_TPFLAGS_DEFAULT, encoder_slots};

/* The names of the instruction sets that this processor supports, fastest first. */
static PyObject *instructions(PyObject *module, PyObject *none) {
    PyObject *names = PyList_New(0);
    for (const InstructionSet *const *set = instruction_sets; names && *set; set++) {
        PyObject *name = (*set)->is_supported() ? PyUnicode_FromString((*set)->name) : NULL;
        if (name) PyList_Append(names, name);
        Py_XDECREF(name);
    }
    return names;
}

static PyObject *multiply(PyObject *module, PyObject *args) {
    const char *instructions;
    int times;
    if (!PyArg_ParseTuple(args, "si", &instructions, &times)) return NULL;
    const InstructionSet *set = supported(instructions);
    if (set == NULL) return NULL;
    int64_t products;
    Py_BEGIN_ALLOW_THREADS
    products = set->multiply(times);
    Py_END_ALLOW_THREADS
    return PyLong_FromLongLong(products);
}

static PyMethodDef module_methods[] = {
    {"instructions", instructions, METH_NOARGS, "Return the available instruction sets, fastest first."},
    {"multiply", multiply, METH_VARARGS,
     "multiply(instructions, times): multiply `times` tiles from the L1 cache and return the number of products."},
    {NULL}};

static int execute(PyObject *module) {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    PyObject *type = PyType_FromModuleAndSpec(module, &encoder_spec, NULL);
    if (type == NULL) return -1;
    int failed = PyModule_AddType(module, (PyTypeObject *)type);
    Py_DECREF(type);
    return failed;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, execute}, {0, NULL}};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native",   "Encoders with int8 weights.", 0,
                                        module_methods,        module_slots};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
