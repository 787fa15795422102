// Package docs_test keeps the documents true: what they list is compared with the code.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = ".."

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// firstColumn returns what stands in backquotes in the first column of a document's tables.
func firstColumn(text string) []string {
	var found []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	slices.Sort(found)
	return found
}

// parseFile returns a file of ours.
func parseFile(t *testing.T, name string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Every reason and rule of package receipt is explained, and no other.
func TestReasonsAreExplained(t *testing.T) {
	var reasons []string
	ast.Inspect(parseFile(t, filepath.Join(root, "internal/receipt/receipt.go")), func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Reason" {
			return true
		}
		for _, v := range spec.Values {
			reason, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			reasons = append(reasons, reason)
		}
		return true
	})
	slices.Sort(reasons)
	if len(reasons) < 15 {
		t.Fatalf("got %d reasons, want those of package receipt: %v", len(reasons), reasons)
	}
	if diff := cmp.Diff(reasons, firstColumn(read(t, "quarantine.md"))); diff != "" {
		t.Errorf("quarantine.md differs from package receipt (-code +document):\n%s", diff)
	}
}

// goFiles calls fn for each Go file of the module.
func goFiles(t *testing.T, fn func(name string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || slices.Contains([]string{"tools", "testdata", "bin"}, d.Name())):
			return fs.SkipDir
		case strings.HasSuffix(name, ".go"):
			fn(name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The modules that the code imports stand in dependencies.md with the versions of go.mod, and no others.
func TestDependenciesAreExplained(t *testing.T) {
	versions := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t(\S+) (v\S+)`).FindAllStringSubmatch(read(t, filepath.Join(root, "go.mod")), -1) {
		versions[m[1]] = m[2]
	}
	imported := map[string]string{}
	goFiles(t, func(name string) {
		for _, spec := range parseFile(t, name).Imports {
			pkg, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			for module := pkg; module != "."; module = path.Dir(module) {
				if version, ok := versions[module]; ok {
					imported[module] = version
					break
				}
			}
		}
	})
	if len(imported) < 10 {
		t.Fatalf("got %d imported modules, want all: %v", len(imported), imported)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (v\\S+) \\|").FindAllStringSubmatch(read(t, "dependencies.md"), -1) {
		documented[m[1]] = m[2]
	}
	if diff := cmp.Diff(imported, documented); diff != "" {
		t.Errorf("dependencies.md differs from the code's imports and go.mod (-code +document):\n%s", diff)
	}
}

// The keys that a records file may hold are all explained in admin.md, and no others.
func TestRecordKeysAreExplained(t *testing.T) {
	refused := []string{"password", "plus_token", "token"} // only to say where a secret belongs
	var keys []string
	for _, name := range []string{"apply.go", "records.go", "mailbox.go"} {
		ast.Inspect(parseFile(t, filepath.Join(root, "internal/apply", name)), func(n ast.Node) bool {
			lit, ok := n.(*ast.CompositeLit)
			if ok {
				if kind, named := lit.Type.(*ast.Ident); named && kind.Name == "keys" {
					for _, e := range lit.Elts {
						key, err := strconv.Unquote(e.(*ast.KeyValueExpr).Key.(*ast.BasicLit).Value)
						if err != nil {
							t.Fatal(err)
						}
						keys = append(keys, key)
					}
				}
			}
			if assign, ok := n.(*ast.AssignStmt); ok {
				if index, ok := assign.Lhs[0].(*ast.IndexExpr); ok {
					if lit, ok := index.Index.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						key, err := strconv.Unquote(lit.Value)
						if err != nil {
							t.Fatal(err)
						}
						keys = append(keys, key)
					}
				}
			}
			return true
		})
	}
	slices.Sort(keys)
	keys = slices.DeleteFunc(slices.Compact(keys), func(key string) bool { return slices.Contains(refused, key) })
	if len(keys) < 35 {
		t.Fatalf("got %d keys, want those of package apply: %v", len(keys), keys)
	}
	_, text, found := strings.Cut(read(t, "admin.md"), "\n## Records\n")
	if !found {
		t.Fatal("admin.md has no section Records")
	}
	text, _, _ = strings.Cut(text, "\n## ")
	if diff := cmp.Diff(keys, slices.Compact(firstColumn(text))); diff != "" {
		t.Errorf("the records of admin.md differ from package apply (-code +document):\n%s", diff)
	}
}

// Every package stands on the map.
func TestThePackagesAreOnTheMap(t *testing.T) {
	text := read(t, "architecture.md")
	packages, err := os.ReadDir(filepath.Join(root, "internal"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		if p.IsDir() && !regexp.MustCompile(`\b`+p.Name()+`\b`).MatchString(text) {
			t.Errorf("architecture.md does not name package internal/%s", p.Name())
		}
	}
}

// The files that the map names are there.
func TestTheFilesOfTheMapAreThere(t *testing.T) {
	for _, name := range regexp.MustCompile(`internal/[a-z0-9/]+(\.go)?`).FindAllString(read(t, "architecture.md"), -1) {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Errorf("architecture.md names %s, which is not there", name)
		}
	}
}

// What a document links to within the repository is there, headings included.
func TestLinksLeadSomewhere(t *testing.T) {
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	decisions, err := filepath.Glob("decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	documents = append(append(documents, decisions...), filepath.Join(root, "README.md"), filepath.Join(root, "CHANGELOG.md"))
	links := 0
	for _, document := range documents {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(read(t, document), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			name, anchor, _ := strings.Cut(m[1], "#")
			target := document
			if name != "" {
				target = filepath.Join(filepath.Dir(document), name)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", document, m[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchors(read(t, target)), anchor) {
				t.Errorf("%s links to %s, which has no such heading", document, m[1])
			}
		}
	}
	if links < 10 {
		t.Errorf("got %d links, want those of all documents", links)
	}
}

// anchors returns the names under which the headings of a document are linked to.
func anchors(text string) []string {
	var found []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		name := strings.ToLower(m[1])
		name = regexp.MustCompile(`[^a-z0-9_ -]`).ReplaceAllString(name, "")
		found = append(found, strings.ReplaceAll(name, " ", "-"))
	}
	return found
}
