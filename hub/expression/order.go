package expression

import (
	"cmp"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// ordered returns the expression with the terms of && and of || in the order of their cost, so that most events are told
// from what they compare with rather than from what they search. The value is the same in any order: an error in one term is
// absorbed by another that decides, on either side of it (the language definition of CEL, "Logical Operators").
func ordered(env *cel.Env, checked *cel.Ast) (*cel.Ast, error) {
	if !hasTerms(checked.NativeRep().Expr()) {
		return checked, nil
	}
	o, err := cel.NewStaticOptimizer(order{})
	if err != nil {
		return nil, err
	}
	a, issues := o.Optimize(env, checked)
	return a, issues.Err()
}

// order implements cel.ASTOptimizer.
type order struct{}

func (order) Optimize(ctx *cel.OptimizerContext, a *ast.AST) *ast.AST {
	return ctx.NewAST(reorder(ctx, a.Expr()))
}

func isLogical(e ast.Expr) bool {
	return e.Kind() == ast.CallKind && (e.AsCall().FunctionName() == operators.LogicalAnd || e.AsCall().FunctionName() == operators.LogicalOr)
}

// hasTerms reports whether there is something to put in order. Within macros there is not: their loops know their terms.
func hasTerms(e ast.Expr) bool {
	if e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.LogicalNot {
		return hasTerms(e.AsCall().Args()[0])
	}
	return isLogical(e)
}

func reorder(ctx *cel.OptimizerContext, e ast.Expr) ast.Expr {
	switch {
	case isLogical(e):
		op := e.AsCall().FunctionName()
		all := terms(nil, op, e)
		for i, t := range all {
			all[i] = reorder(ctx, t)
		}
		slices.SortStableFunc(all, func(a, b ast.Expr) int { return cmp.Compare(cost(a), cost(b)) })
		return join(ctx, op, all)
	case hasTerms(e):
		return ctx.NewCall(operators.LogicalNot, reorder(ctx, e.AsCall().Args()[0]))
	}
	return e
}

// terms appends what an operator joins, however it is nested.
func terms(to []ast.Expr, op string, e ast.Expr) []ast.Expr {
	if !isLogical(e) || e.AsCall().FunctionName() != op {
		return append(to, e)
	}
	for _, t := range e.AsCall().Args() {
		to = terms(to, op, t)
	}
	return to
}

func join(ctx *cel.OptimizerContext, op string, all []ast.Expr) ast.Expr {
	if len(all) == 1 {
		return all[0]
	}
	half := len(all) / 2 // as the parser does: a chain of hundreds does not become as deep
	return ctx.NewCall(op, join(ctx, op, all[:half]), join(ctx, op, all[half:]))
}

// Costs of what takes longer than an operator, which is 1. Only their order matters.
const (
	costData    = 3 // the payload is parsed once for all expressions
	costSearch  = 3
	costMatches = 10
	costLoop    = 30
)

// cost is about how long it takes to evaluate an expression.
func cost(e ast.Expr) int {
	n := 1
	switch e.Kind() {
	case ast.IdentKind:
		if e.AsIdent() == "data" {
			n = costData
		}
	case ast.SelectKind:
		n += cost(e.AsSelect().Operand())
	case ast.CallKind:
		c := e.AsCall()
		switch c.FunctionName() {
		case "matches":
			n = costMatches
		case "contains", "endsWith", "startsWith":
			n = costSearch
		}
		if c.IsMemberFunction() {
			n += cost(c.Target())
		}
		for _, a := range c.Args() {
			n += cost(a)
		}
	case ast.ListKind:
		for _, x := range e.AsList().Elements() {
			n += cost(x)
		}
	case ast.ComprehensionKind:
		n = costLoop + cost(e.AsComprehension().IterRange())
	}
	return n
}
