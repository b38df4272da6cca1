package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// module is the path of this module in import statements.
const module = "github.com/sluice-gateway/sluice"

// topFolders are the folders that the root may have besides hidden ones and what .gitignore names.
var topFolders = []string{"ai", "benchmarks", "bpf", "cmd", "control", "l4", "l7", "scripts"}

// importRule says which packages of ours the packages under prefix may import. A name stands for itself and
// everything below it. self allows the folder right below the prefix: a plugin may have folders of its own.
type importRule struct {
	prefix string
	allow  []string
	deny   []string // wins over allow
	self   bool
}

// importRules is the table of ARCHITECTURE.md; the rule with the longest prefix counts. Tests obey the same
// table, with two additions: a test may import its own package, and packages for tests below it (l7/h1/h1test).
// What has to see more, such as an Admin API test with real plugins, is a test in cmd/sluice.
var importRules = []importRule{
	{prefix: "cmd", allow: []string{"."}},

	{prefix: "bpf", allow: []string{"bpf"}},

	{prefix: "control", allow: []string{"control"}},
	{prefix: "control/model"},
	{prefix: "control/snapshot", allow: []string{"control/model"}},

	{prefix: "l4", allow: []string{"l4", "bpf", "control/snapshot"}},
	{prefix: "l4/maglev"},
	{prefix: "l4/userspace", allow: []string{"l4", "bpf", "control/snapshot", "l7/plugin", "l7/upstream", "l7/certs", "l7/proxyproto", "l7/listen"}},

	{prefix: "l7", allow: []string{"l7", "control/snapshot", "l4/maglev"}, deny: []string{"l7/plugins"}},
	{prefix: "l7/h1"},
	{prefix: "l7/h1/h1test", allow: []string{"l7/h1"}},
	{prefix: "l7/proxyproto"},
	{prefix: "l7/certs", allow: []string{"control/snapshot"}},
	{prefix: "l7/plugin", allow: []string{"l7/plugin"}},
	{prefix: "l7/plugins", allow: []string{"l7/plugin"}, self: true},

	{prefix: "ai", allow: []string{"ai", "l7/plugin"}},

	// Programs that stand beside the gateway. Benchmarks know it as a binary and a port, like its peers.
	{prefix: "benchmarks", self: true},
	{prefix: "scripts", self: true},
}

// listenAllowed are the packages whose code may open listening sockets: one place passes sockets to the next
// process and sets their options.
var listenAllowed = []string{"l7/listen", "cmd/sluice", "benchmarks", "scripts"}

// under reports whether pkg is prefix or below it.
func under(pkg, prefix string) bool {
	return prefix == "." || pkg == prefix || strings.HasPrefix(pkg, prefix+"/")
}

func underAny(pkg string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return under(pkg, p) })
}

// forTests reports whether pkg is made for tests, by its name: h1test, storetest.
func forTests(pkg string) bool { return strings.HasSuffix(path.Base(pkg), "test") }

// checkImports returns what is wrong with the imports of one file of pkg; both are relative to the module.
func checkImports(pkg string, test bool, imports []string) []string {
	var rule *importRule
	for i := range importRules {
		if r := &importRules[i]; under(pkg, r.prefix) && (rule == nil || len(r.prefix) > len(rule.prefix)) {
			rule = r
		}
	}
	if rule == nil {
		return []string{pkg + ": no rule covers this package: put it where ARCHITECTURE.md has a place for it"}
	}
	own := ""
	if rule.self && pkg != rule.prefix {
		first, _, _ := strings.Cut(strings.TrimPrefix(pkg, rule.prefix+"/"), "/")
		own = rule.prefix + "/" + first
	}
	var wrong []string
	for _, imp := range imports {
		switch {
		case forTests(imp) && !test && !forTests(pkg):
			wrong = append(wrong, pkg+" imports "+imp+", which is for tests only")
		case test && (imp == pkg || under(imp, pkg) && forTests(imp)):
		case own != "" && under(imp, own):
		case underAny(imp, rule.allow) && !underAny(imp, rule.deny):
		default:
			wrong = append(wrong, pkg+" must not import "+imp)
		}
	}
	return wrong
}

// TestImportRuleFindsBreaches plants imports, forbidden and allowed ones.
func TestImportRuleFindsBreaches(t *testing.T) {
	tests := []struct {
		name    string
		pkg     string
		test    bool
		imports []string
		want    []string
	}{
		{"control names a plane", "control/reconcile", false, []string{"l7"}, []string{"control/reconcile must not import l7"}},
		{"control names a plugin", "control/compile", false, []string{"l7/plugin"}, []string{"control/compile must not import l7/plugin"}},
		{"control tests name a plugin", "control/adminapi", true, []string{"l7/plugins/cors"}, []string{"control/adminapi must not import l7/plugins/cors"}},
		{"control on its own", "control/adminapi", false, []string{"control/store", "control/model"}, nil},
		{"model imports", "control/model", false, []string{"control/schema"}, []string{"control/model must not import control/schema"}},
		{"snapshot imports model only", "control/snapshot", false, []string{"control/model", "control/store"}, []string{"control/snapshot must not import control/store"}},
		{"codec imports", "l7/h1", false, []string{"l7/engine"}, []string{"l7/h1 must not import l7/engine"}},
		{"codec test support", "l7/h1/h1test", false, []string{"l7/h1"}, nil},
		{"maglev imports", "l4/maglev", false, []string{"l4"}, []string{"l4/maglev must not import l4"}},
		{"engine names a plugin", "l7/loop", false, []string{"l7/plugins/keyauth"}, []string{"l7/loop must not import l7/plugins/keyauth"}},
		{"engine test names a plugin", "l7/loop", true, []string{"l7/plugins/keyauth"}, []string{"l7/loop must not import l7/plugins/keyauth"}},
		{"engine", "l7/loop", false, []string{"l7/h1", "l7/plugin", "control/snapshot", "l4/maglev"}, nil},
		{"engine reads wire structs", "l7/route", false, []string{"control/model"}, []string{"l7/route must not import control/model"}},
		{"engine names l4", "l7", false, []string{"l4"}, []string{"l7 must not import l4"}},
		{"contract names the engine", "l7/plugin", false, []string{"l7/engine"}, []string{"l7/plugin must not import l7/engine"}},
		{"plugin names another", "l7/plugins/cors", false, []string{"l7/plugins/echo"}, []string{"l7/plugins/cors must not import l7/plugins/echo"}},
		{"plugin with a longer name", "l7/plugins/limit", false, []string{"l7/plugins/limitreq"}, []string{"l7/plugins/limit must not import l7/plugins/limitreq"}},
		{"plugin names the engine", "l7/plugins/cors", false, []string{"l7/engine"}, []string{"l7/plugins/cors must not import l7/engine"}},
		{"plugin", "l7/plugins/cors", false, []string{"l7/plugin", "l7/plugin/expr", "l7/plugins/cors/table"}, nil},
		{"plugin in a folder of a plugin", "l7/plugins/cors/table", false, []string{"l7/plugins/cors", "l7/plugin"}, nil},
		{"l4 names a plugin contract", "l4", false, []string{"l7/plugin"}, []string{"l4 must not import l7/plugin"}},
		{"stream plugins in l4/userspace", "l4/userspace", false, []string{"l7/plugin", "l4", "control/snapshot"}, nil},
		{"bpf", "bpf", false, []string{"bpf/bpftest"}, []string{"bpf imports bpf/bpftest, which is for tests only"}},
		{"bpf names l4", "bpf/bpftest", false, []string{"bpf", "l4"}, []string{"bpf/bpftest must not import l4"}},
		{"ai", "ai/plugins/aiproxy", false, []string{"ai/provider", "l7/plugin"}, nil},
		{"ai names the engine", "ai/provider", false, []string{"l7/upstream"}, []string{"ai/provider must not import l7/upstream"}},
		{"benchmarks name anything", "benchmarks/http", false, []string{"l7/h1"}, []string{"benchmarks/http must not import l7/h1"}},
		{"cmd", "cmd/sluice", false, []string{"l4", "l7", "ai", "control/store", "l7/plugins/cors"}, nil},
		{"own package from its test", "l7/h1", true, []string{"l7/h1", "l7/h1/h1test"}, nil},
		{"test support in shipped code", "control/store/journal", false, []string{"control/store/storetest"}, []string{"control/store/journal imports control/store/storetest, which is for tests only"}},
		{"test support in tests", "control/store/journal", true, []string{"control/store/storetest"}, nil},
		{"no place", "util/strings", false, nil, []string{"util/strings: no rule covers this package: put it where ARCHITECTURE.md has a place for it"}},
		{"the root", ".", false, nil, []string{".: no rule covers this package: put it where ARCHITECTURE.md has a place for it"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, checkImports(tt.pkg, tt.test, tt.imports)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// source is one parsed Go file of the repository.
type source struct {
	pkg  string // folder relative to the root
	path string // relative to the root
	file *ast.File
}

func (s source) test() bool { return strings.HasSuffix(s.path, "_test.go") }

// sources parses every Go file below the root of the repository. The files are read here, not by "go list": the
// test cache then knows them.
func sources(t *testing.T, mode parser.Mode) []source {
	t.Helper()
	root := filepath.Join("..", "..")
	var out []source
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			base := d.Name()
			if rel != "." && (strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || rel == "bin" || rel == "data") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, mode)
		if err != nil {
			return err
		}
		out = append(out, source{path.Dir(rel), rel, f})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("found %d Go files only: the walk is wrong", len(out))
	}
	return out
}

func TestImports(t *testing.T) {
	for _, s := range sources(t, parser.ImportsOnly) {
		var ours []string
		for _, i := range s.file.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if p == module {
				ours = append(ours, ".")
			} else if rel, ok := strings.CutPrefix(p, module+"/"); ok {
				ours = append(ours, rel)
			}
		}
		for _, wrong := range checkImports(s.pkg, s.test(), ours) {
			t.Errorf("%s: %s", s.path, wrong)
		}
	}
}

func TestTopFolders(t *testing.T) {
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		ignored := strings.HasPrefix(e.Name(), ".") || e.Name() == "bin" || e.Name() == "data"
		if e.IsDir() && !ignored && !slices.Contains(topFolders, e.Name()) {
			t.Errorf("%s: the root has these folders only: %s", e.Name(), strings.Join(topFolders, ", "))
		}
	}
}

func TestEveryPackageHasAComment(t *testing.T) {
	commented := map[string]bool{}
	for _, s := range sources(t, parser.PackageClauseOnly|parser.ParseComments) {
		if !s.test() {
			commented[s.pkg] = commented[s.pkg] || s.file.Doc != nil
		}
	}
	for pkg, ok := range commented {
		if !ok {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

// listenCalls are the functions and types that open a listening socket, by import path.
var listenCalls = map[string][]string{
	"net": {"Listen", "ListenTCP", "ListenUDP", "ListenUnix", "ListenUnixgram", "ListenPacket", "ListenIP",
		"ListenMulticastUDP", "ListenConfig", "FileListener", "FilePacketConn"},
	"net/http":              {"ListenAndServe", "ListenAndServeTLS"},
	"crypto/tls":            {"Listen"},
	"syscall":               {"Listen"},
	"golang.org/x/sys/unix": {"Listen"},
}

// listens returns the calls of listenCalls that a file mentions.
func listens(f *ast.File) []string {
	names := map[string][]string{} // local name of an import to its functions
	for _, i := range f.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil || listenCalls[p] == nil {
			continue
		}
		local := path.Base(p)
		if i.Name != nil {
			local = i.Name.Name
		}
		names[local] = listenCalls[p]
	}
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(names[x.Name], sel.Sel.Name) {
				found = append(found, x.Name+"."+sel.Sel.Name)
			}
		}
		return true
	})
	return found
}

func TestListeningSocketsHaveOneHome(t *testing.T) {
	for _, s := range sources(t, parser.SkipObjectResolution) {
		if s.test() || forTests(s.pkg) || underAny(s.pkg, listenAllowed) {
			continue
		}
		for _, call := range listens(s.file) {
			t.Errorf("%s: %s: listening sockets are opened by %s only", s.path, call, strings.Join(listenAllowed, ", "))
		}
	}
}

func TestListensFindsCalls(t *testing.T) {
	tests := []struct {
		name, src string
		want      []string
	}{
		{"call", `package p; import "net"; var _, _ = net.Listen("tcp", ":0")`, []string{"net.Listen"}},
		{"type", `package p; import "net"; var lc net.ListenConfig`, []string{"net.ListenConfig"}},
		{"renamed", `package p; import n "net"; var _, _ = n.ListenPacket("udp", ":0")`, []string{"n.ListenPacket"}},
		{"system call", `package p; import "golang.org/x/sys/unix"; var _ = unix.Listen(3, 1)`, []string{"unix.Listen"}},
		{"another package", `package p; import "example.com/net2"; var _ = net2.Listen`, nil},
		{"dial", `package p; import "net"; var _, _ = net.Dial("tcp", ":0")`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := parser.ParseFile(token.NewFileSet(), "p.go", tt.src, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, listens(f)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
