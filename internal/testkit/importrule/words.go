package importrule

import (
	"bytes"
	"go/ast"
	"go/token"
	"path"
	"strconv"
	"strings"
)

// Passwords finds every mention of Graph's action that adds a password credential. Only the local cloud, which must answer it, tests
// and documentation may name it: code that cannot spell the request cannot send it. A word put together from constants counts as well.
func (t Tree) Passwords() []Violation {
	const why = "no code of ours can ask for a password credential"
	word := []byte("addpassword") // this file is testkit's, which no build of the product contains
	var all []Violation
	for _, f := range t.Text {
		if mayNamePasswords(f.Path) {
			continue
		}
		for i, line := range bytes.Split(f.Content, []byte("\n")) {
			if bytes.Contains(bytes.ToLower(line), word) {
				all = append(all, Violation{f.Path, i + 1, "names " + string(word), why})
			}
		}
	}
	for _, f := range t.Go {
		if mayNamePasswords(f.Path) {
			continue
		}
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			sum, ok := n.(*ast.BinaryExpr)
			if !ok {
				return true
			}
			if strings.Contains(strings.ToLower(constant(sum)), string(word)) {
				all = append(all, Violation{f.Path, f.line(n), "spells " + string(word), why})
			}
			return false
		})
	}
	return all
}

func mayNamePasswords(file string) bool {
	return within(file, "internal/localcloud") || within(file, "docs") || within(file, "script/clients") || path.Ext(file) == ".md" ||
		path.Ext(file) == ".txtar" || strings.Contains("/"+file, "/testdata/") || forTests(file)
}

// constant joins the string literals of a sum, whatever lies between them.
func constant(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return constant(e.X) + constant(e.Y)
		}
	case *ast.ParenExpr:
		return constant(e.X)
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return s
		}
	}
	return ""
}

// Inits finds functions that run before main: they hide what a package needs.
func (t Tree) Inits() []Violation {
	var all []Violation
	for _, f := range t.Go {
		for _, d := range f.Syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				all = append(all, Violation{f.Path, f.line(d), "has func init", "app shows every dependency; nothing registers itself"})
			}
		}
	}
	return all
}

// Skips finds tests that can pass without running.
func (t Tree) Skips() []Violation {
	var all []Violation
	for _, f := range t.Go {
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if sel, ok := call.Fun.(*ast.SelectorExpr); ok && (sel.Sel.Name == "Skip" || sel.Sel.Name == "Skipf" || sel.Sel.Name == "SkipNow") {
				all = append(all, Violation{f.Path, f.line(n), "calls " + sel.Sel.Name, "a test that did not run has not passed"})
			}
			return true
		})
	}
	return all
}

// Sleeps finds fixed waiting in the product. Tests may sleep in virtual time, and the local cloud is slow on purpose.
func (t Tree) Sleeps() []Violation {
	var all []Violation
	for _, f := range t.Go {
		if forTests(f.Path) || within(f.Path, "internal/localcloud") {
			continue
		}
		clock := nameOf(f.Syntax, "time")
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Sleep" {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == clock {
				all = append(all, Violation{f.Path, f.line(n), "calls time.Sleep", "we wait for something, with a deadline, and say for what: see job.Wait"})
			}
			return true
		})
	}
	return all
}

// nameOf is what the file calls an imported package of the standard library, "" if it does not import it.
func nameOf(f *ast.File, imported string) string {
	for _, spec := range f.Imports {
		if spec.Path.Value != strconv.Quote(imported) {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(imported)
	}
	return ""
}
