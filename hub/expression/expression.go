// Package expression has filters in the Common Expression Language (CEL, cel.dev), such as
//
//	wiki == "enwiki" && !bot && length.new - length.old < -500
//	server_name.endsWith(".wikivoyage.org") && (type == "new" || log_type == "delete")
//	data.severity > 3 && topic.startsWith("/alerts/")
//
// The fields of a recent change are variables under their EventStreams names, but for ns, since CEL reserves the word
// namespace. For any event there are topic, item (its
// id in the topic), time (a timestamp), kind ("publish" or "retract") and data, the JSON payload. An event for which the
// expression cannot be evaluated, because a field it needs is absent for example, does not pass: has(data.severity) and
// the order of && and || decide what is needed.
//
// CEL has no loops without a bound and its regular expressions (RE2) take linear time; beyond that, an expression is
// bounded in length when it is compiled and in cost each time it is evaluated.
//
// The library is cel.dev/cel-go rather than one of the smaller expression languages: CEL is specified outside of its
// library and known from Kubernetes and Envoy, its type check points at the column of a mistake before anything is
// subscribed, and it counts the cost of an evaluation.
package expression

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"

	"tidings"
	"tidings/hub"
)

// Bounds of an expression.
const (
	MaxBytes  = 2048  // of its text
	costLimit = 20000 // in CEL's units: about the number of operations, a string counting by its length
	maxDepth  = 64    // of nesting
	maxKept   = 4096  // compiled expressions kept for those who ask the same again
)

// fields are the variables that Item.Field knows, and their types. Pairs have the members old and new.
var fields = map[string]*cel.Type{
	"id": cel.IntType, "type": cel.StringType, "ns": cel.IntType, "title": cel.StringType, "title_url": cel.StringType,
	"comment": cel.StringType, "parsedcomment": cel.StringType, "timestamp": cel.IntType, "user": cel.StringType,
	"bot": cel.BoolType, "minor": cel.BoolType, "patrolled": cel.BoolType, "notify_url": cel.StringType,
	"length": pair, "revision": pair,
	"log_id": cel.IntType, "log_type": cel.StringType, "log_action": cel.StringType, "log_action_comment": cel.StringType,
	"server_url": cel.StringType, "server_name": cel.StringType, "server_script_path": cel.StringType, "wiki": cel.StringType,
}

var pair = cel.MapType(cel.StringType, cel.IntType)

// environment is what expressions are compiled in.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	opts := []cel.EnvOption{
		cel.Variable("topic", cel.StringType),
		cel.Variable("item", cel.StringType),
		cel.Variable("kind", cel.StringType),
		cel.Variable("time", cel.TimestampType),
		cel.Variable("data", cel.DynType),
		cel.ParserRecursionLimit(maxDepth),
		cel.ParserExpressionSizeLimit(MaxBytes),
	}
	for name, t := range fields {
		opts = append(opts, cel.Variable(name, t))
	}
	return cel.NewEnv(opts...)
})

// Filter is a compiled expression. It implements hub.Filter.
type Filter struct {
	text    string
	program cel.Program
}

var (
	keptMu sync.Mutex
	kept   = map[string]*Filter{}
)

// Compile returns the filter for the text. The same text is compiled once. Errors are of kind tidings.ErrInvalid and
// say at which column the mistake is, counted in characters from 1.
func Compile(text string) (*Filter, error) {
	if len(text) > MaxBytes {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter expression has %d bytes and may have %d", len(text), MaxBytes)
	}
	if !utf8.ValidString(text) {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter expression is not valid UTF-8")
	}
	canonical := strings.TrimSpace(text)
	keptMu.Lock()
	f := kept[canonical]
	keptMu.Unlock()
	if f != nil {
		return f, nil
	}
	env, err := environment()
	if err != nil {
		return nil, fmt.Errorf("expression: preparing the environment: %w", err)
	}
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		first := issues.Errors()[0]
		column := first.Location.Column() + 1
		if column < 1 { // the end of the text
			column = utf8.RuneCountInString(text) + 1
		}
		at := fmt.Sprintf("column %d", column)
		if first.Location.Line() > 1 {
			at = fmt.Sprintf("line %d, %s", first.Location.Line(), at)
		}
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter expression is wrong at %s: %s", at, explain(first.Message))
	}
	if t := ast.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter expression yields %s and has to yield true or false, such as: wiki == \"enwiki\"", t)
	}
	if ast, err = ordered(env, ast); err != nil {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter expression cannot be used: %v", err)
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit))
	if err != nil {
		return nil, tidings.Errorf(tidings.ErrInvalid, "the filter expression cannot be used: %v", err)
	}
	f = &Filter{text: canonical, program: program}
	keptMu.Lock()
	defer keptMu.Unlock()
	if len(kept) >= maxKept {
		clear(kept) // feeds keep their own; what is asked for again is compiled again
	}
	kept[canonical] = f
	return f, nil
}

// explain makes a message of the parser or the checker fit for the one who wrote the expression.
func explain(msg string) string {
	if msg == "reserved identifier: namespace" {
		return "the word namespace is reserved: a change's namespace is ns"
	}
	msg, _, _ = strings.Cut(msg, " expecting {")
	return strings.TrimPrefix(msg, "Syntax error: ")
}

// String returns the canonical text.
func (f *Filter) String() string { return "cel:" + f.text }

// Match reports whether the expression is true for the event.
func (f *Filter) Match(it *hub.Item) bool {
	v, _, err := f.program.Eval(activation{it})
	return err == nil && v == types.True
}

// activation resolves variables when they are needed.
type activation struct{ it *hub.Item }

// Parent implements cel.Activation.
func (activation) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (a activation) ResolveName(name string) (any, bool) { return a.it.Memo(name, resolve) }

// resolve returns the value of a variable, as CEL's own type where that spares a conversion for each evaluation.
func resolve(it *hub.Item, name string) (any, bool) {
	v, ok := find(it, name)
	if !ok {
		return nil, false
	}
	return types.DefaultTypeAdapter.NativeToValue(v), true
}

func find(it *hub.Item, name string) (any, bool) {
	switch name {
	case "topic":
		return string(it.Topic), true
	case "item":
		return it.ItemID(), true
	case "kind":
		return it.Kind.String(), true
	case "time":
		return types.Timestamp{Time: it.Time}, true
	case "data":
		return it.JSON()
	}
	t := fields[name]
	if name == "ns" {
		name = "namespace"
	}
	if t == pair {
		m := make(map[string]int64, 2)
		for _, member := range [...]string{"old", "new"} {
			if s, ok := it.Field(name + "." + member); ok {
				if n, err := strconv.ParseInt(s, 10, 64); err == nil {
					m[member] = n
				}
			}
		}
		return m, len(m) > 0
	}
	s, ok := it.Field(name)
	if !ok {
		return nil, false
	}
	switch t {
	case cel.IntType:
		n, err := strconv.ParseInt(s, 10, 64)
		return n, err == nil
	case cel.BoolType:
		return s == "true", s == "true" || s == "false"
	case cel.StringType:
		return s, true
	}
	return nil, false
}
