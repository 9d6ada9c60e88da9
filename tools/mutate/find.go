package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A mutation replaces the bytes [start, end) of a file.
type mutation struct {
	file       string // a path
	line       int
	function   string
	start, end int
	old, new   string
}

// key names the mutation in the file of explanations. It has no line number, so it
// stays valid when other parts of the file change.
func (m *mutation) key() string {
	return filepath.Base(m.file) + "\t" + m.function + "\t" + oneLine(m.old) + " → " + oneLine(m.new)
}

// findMutations returns the mutations of the files in dir, in the order of the source.
func findMutations(dir, pattern string) ([]mutation, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []mutation
	for _, entry := range entries {
		name := entry.Name()
		wanted := strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
		if pattern != "" {
			if wanted, err = filepath.Match(pattern, name); err != nil {
				return nil, fmt.Errorf("-files: %w", err)
			}
		}
		if !wanted {
			continue
		}
		found, err := mutationsOf(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: there is nothing to change", dir)
	}
	return all, nil
}

func mutationsOf(path string) ([]mutation, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &finder{path: path, fset: fset, source: source}
	for _, decl := range file.Decls {
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Body != nil {
			f.function = fn.Name.Name
			f.inFunction(fn.Type, fn.Body)
		}
	}
	slices.SortStableFunc(f.found, func(a, b mutation) int { return a.start - b.start })
	return f.found, nil
}

type finder struct {
	path     string
	fset     *token.FileSet
	source   []byte
	function string
	found    []mutation
}

func (f *finder) text(n ast.Node) string {
	return string(f.source[f.offset(n.Pos()):f.offset(n.End())])
}

func (f *finder) offset(pos token.Pos) int { return f.fset.Position(pos).Offset }

func (f *finder) replace(from, to token.Pos, with string) {
	start, end := f.offset(from), f.offset(to)
	f.found = append(f.found, mutation{
		file: f.path, line: f.fset.Position(from).Line, function: f.function,
		start: start, end: end, old: string(f.source[start:end]), new: with,
	})
}

// inFunction adds the mutations of a function's body. The type of the function says
// what its return statements return.
func (f *finder) inFunction(typ *ast.FuncType, body *ast.BlockStmt) {
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			f.inFunction(n.Type, n.Body)
			return false
		case *ast.ReturnStmt:
			f.inReturn(typ, n)
		case *ast.IfStmt:
			f.negate(n.Cond)
		case *ast.BinaryExpr:
			f.inBinary(n)
		case *ast.BasicLit:
			if value, err := strconv.ParseInt(n.Value, 0, 32); n.Kind == token.INT && err == nil {
				f.replace(n.Pos(), n.End(), strconv.FormatInt(value+1, 10))
			}
		case *ast.CompositeLit:
			f.inLiteral(n)
		case *ast.BranchStmt:
			f.inBranch(n)
		case *ast.CaseClause:
			f.inClause(n.Colon, n.Body)
		case *ast.CommClause:
			f.inClause(n.Colon, n.Body)
		case *ast.CallExpr:
			f.inCall(n)
		default:
			f.inStatement(n)
		}
		return true
	})
}

// others are the operators that take an operator's place.
var others = map[token.Token][]token.Token{
	token.EQL: {token.NEQ}, token.NEQ: {token.EQL},
	token.LSS: {token.LEQ, token.GEQ}, token.LEQ: {token.LSS, token.GTR},
	token.GTR: {token.GEQ, token.LEQ}, token.GEQ: {token.GTR, token.LSS},
	token.LAND: {token.LOR}, token.LOR: {token.LAND},
	token.ADD: {token.SUB}, token.SUB: {token.ADD}, token.MUL: {token.QUO}, token.QUO: {token.MUL},
	token.AND: {token.OR}, token.OR: {token.AND},
}

func (f *finder) inBinary(n *ast.BinaryExpr) {
	for _, other := range others[n.Op] {
		f.replace(n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), other.String())
	}
}

// negate negates a condition that has no operator of its own to change.
func (f *finder) negate(cond ast.Expr) {
	if _, binary := cond.(*ast.BinaryExpr); !binary {
		f.replace(cond.Pos(), cond.End(), "!("+f.text(cond)+")")
	}
}

// inReturn returns no error for an error, and the opposite of a bool.
func (f *finder) inReturn(typ *ast.FuncType, n *ast.ReturnStmt) {
	var results []string
	if typ.Results != nil {
		for _, field := range typ.Results.List {
			for range max(len(field.Names), 1) {
				results = append(results, f.text(field.Type))
			}
		}
	}
	if len(n.Results) != len(results) {
		return // return f(), or a return without values
	}
	for i, value := range n.Results {
		switch text := f.text(value); {
		case results[i] == "error" && text != "nil":
			f.replace(value.Pos(), value.End(), "error(nil)")
		case results[i] == "bool" && text == "true":
			f.replace(value.Pos(), value.End(), "false")
		case results[i] == "bool" && text == "false":
			f.replace(value.Pos(), value.End(), "true")
		case results[i] == "bool":
			f.negate(value)
		}
	}
}

// inLiteral leaves out one field of a struct.
func (f *finder) inLiteral(n *ast.CompositeLit) {
	for _, element := range n.Elts {
		field, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if _, named := field.Key.(*ast.Ident); named {
			end := element.End()
			if rest := f.source[f.offset(end):]; len(rest) > 0 && rest[0] == ',' {
				end++
			}
			f.replace(element.Pos(), end, "")
		}
	}
}

func (f *finder) inBranch(n *ast.BranchStmt) {
	switch {
	case n.Tok == token.CONTINUE && n.Label == nil:
		f.replace(n.Pos(), n.End(), "break")
	case n.Tok == token.BREAK && n.Label == nil:
		f.replace(n.Pos(), n.End(), "")
	}
}

// inClause empties a case of a switch or a select.
func (f *finder) inClause(colon token.Pos, body []ast.Stmt) {
	if len(body) > 0 {
		f.replace(colon+1, body[len(body)-1].End(), "")
	}
}

func (f *finder) inCall(n *ast.CallExpr) {
	if fn, ok := n.Fun.(*ast.Ident); ok && (fn.Name == "min" || fn.Name == "max") {
		f.replace(fn.Pos(), fn.End(), map[string]string{"min": "max", "max": "min"}[fn.Name])
	}
}

// inStatement leaves a statement out. An assignment still evaluates its right side, so
// that no variable is unused.
func (f *finder) inStatement(n ast.Node) {
	switch n := n.(type) {
	case *ast.AssignStmt:
		blanks := "_" + strings.Repeat(", _", len(n.Lhs)-1) + " = "
		start, value := n.Pos(), n.Rhs[0].Pos()
		if n.Tok != token.DEFINE && len(n.Rhs) == 1 && string(f.source[f.offset(start):f.offset(value)]) != blanks {
			f.replace(start, value, blanks)
		}
	case *ast.ExprStmt, *ast.IncDecStmt, *ast.SendStmt, *ast.DeferStmt, *ast.GoStmt:
		f.replace(n.Pos(), n.End(), "")
	}
}

// oneLine shortens a piece of source for a report.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if s == "" {
		return "nothing"
	}
	if r := []rune(s); len(r) > 60 {
		return string(r[:59]) + "…"
	}
	return s
}
