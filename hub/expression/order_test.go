package expression

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
)

func TestOrder(t *testing.T) {
	for text, want := range map[string]string{
		`wiki == "a"`: `wiki == "a"`,
		`title.matches("^A") && title.startsWith("A") && length.new - length.old < 5 && wiki == "a" && !bot`: `!bot && wiki == "a" && title.startsWith("A") && length.new - length.old < 5 && title.matches("^A")`,
		`(data.tag.matches("b") || bot) && (user.matches("x") && (user == "y" || minor) && id == 5)`:         `id == 5 && (minor || user == "y") && user.matches("x") && (bot || data.tag.matches("b"))`,
		`!(user.matches("x") || bot)`:             `!(bot || user.matches("x"))`,
		`bot && minor && patrolled`:               `bot && minor && patrolled`,
		`bot ? user.matches("x") && minor : true`: `bot ? (user.matches("x") && minor) : true`,
	} {
		env, err := environment()
		if err != nil {
			t.Fatal(err)
		}
		a, issues := env.Compile(text)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		if a, err = ordered(env, a); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := cel.AstToString(a); err != nil || got != want {
			t.Errorf("%s\ncame to %s (%v)\nand not %s", text, got, err, want)
		}
	}
}

// TestOrderChangesNoValue holds random expressions, with terms that cannot be evaluated among theirs, against their
// evaluation as they are written.
func TestOrderChangesNoValue(t *testing.T) {
	env, err := environment()
	if err != nil {
		t.Fatal(err)
	}
	it := item("/t", change)
	atoms := []string{
		`bot`, `minor`, `type == "edit"`, `wiki == "x"`, `title.matches("^Z")`, `title.matches("b$")`, `log_id > 5`, `revision.old > 3`,
		`data.nothing == 1`, `data.tags.exists(t, t == "b" && !bot)`, `has(revision.old)`, `1 / (id - 7) > 0`, `title.startsWith("x")`,
		`(minor ? log_id > 1 && bot : minor)`,
	}
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	var tree func(depth int) string
	tree = func(depth int) string {
		switch n := r.IntN(5); {
		case depth == 0 || n == 0:
			return atoms[r.IntN(len(atoms))]
		case n == 1:
			return "!(" + tree(depth-1) + ")"
		case n == 2:
			return fmt.Sprintf("(%s || %s || %s)", tree(depth-1), tree(depth-1), tree(depth-1))
		default:
			return fmt.Sprintf("(%s && %s)", tree(depth-1), tree(depth-1))
		}
	}
	passed := 0
	const rounds = 1500
	for range rounds {
		text := tree(4)
		if len(text) > MaxBytes {
			continue
		}
		a, issues := env.Compile(text)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		written, err := env.Program(a)
		if err != nil {
			t.Fatal(err)
		}
		v, _, err := written.Eval(activation{it})
		want := err == nil && v == types.True
		f, err := Compile(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := f.Match(it); got != want {
			t.Fatalf("seed %d: %s is %v, as it is written %v", seed, text, got, want)
		}
		if want {
			passed++
		}
	}
	if passed < rounds/20 || passed > rounds*19/20 {
		t.Errorf("%d of %d are true: that tests little", passed, rounds)
	}
}
