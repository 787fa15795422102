package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/postroom/postroom/internal/spelling"
)

// readKeys returns the keys that stand in the file with their lines, and what stands there without the keys that have a
// fault: it adds one for each that is unknown, doubled or in the wrong place. It returns nil if the file is not YAML.
func readKeys(path string, octets []byte, found *faults) (lines map[string]int, content map[string]any) {
	dec := yaml.NewDecoder(strings.NewReader(string(octets)))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return map[string]int{}, nil
	case err != nil:
		found.add(Fault{Where: path, Problem: "is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: "), Mend: "indent with spaces, write key: value"})
		return nil, nil
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		found.add(Fault{Where: path, Problem: "holds more than one document", Mend: "take out the lines that are only ---"})
		return nil, nil
	}
	k := keyReader{path: path, found: found, lines: map[string]int{}, schema: map[string]bool{}}
	for _, l := range leaves(Default()) {
		k.schema[l.key] = true
		for i, r := range l.key {
			if r == '.' {
				k.schema[l.key[:i]] = false
			}
		}
	}
	if !k.section("", doc.Content[0]) {
		return k.lines, nil
	}
	if err := doc.Decode(&content); err != nil {
		found.add(Fault{Where: path, Problem: "cannot be read as YAML", Mend: "see configs/postroom.yaml for the form"})
	}
	return k.lines, content
}

type keyReader struct {
	path   string
	found  *faults
	schema map[string]bool // key → it takes a value; false: it is a section
	lines  map[string]int
}

// section reads a section and takes out of it what has a fault. It reports whether it is one.
func (k *keyReader) section(prefix string, node *yaml.Node) bool {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!null" {
		return true
	}
	if node.Kind != yaml.MappingNode {
		k.fault(strings.TrimSuffix(prefix, "."), node.Line, "is not a section", "write its keys on lines of their own, indented by two spaces")
		return false
	}
	var good []*yaml.Node
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		key := prefix + name.Value
		if line, double := seen[name.Value]; double {
			k.fault(key, name.Line, fmt.Sprintf("stands on line %d already", line), "keep one of them")
			continue
		}
		seen[name.Value] = name.Line
		if k.entry(prefix, key, name, value) {
			good = append(good, name, value)
		}
	}
	node.Content = good
	return true
}

// entry reads one key of a section and reports whether it is in order so far.
func (k *keyReader) entry(prefix, key string, name, value *yaml.Node) bool {
	isLeaf, known := k.schema[key]
	switch {
	case !known:
		k.unknown(prefix, key, name.Line)
		return false
	case !isLeaf:
		return k.section(key+".", value)
	case value.Kind == yaml.AliasNode:
		k.fault(key, name.Line, "is a YAML alias", "write the value itself")
		return false
	case value.Tag != "!!null":
		k.lines[key] = name.Line
	}
	return true
}

func (k *keyReader) unknown(prefix, key string, line int) {
	mend := "take it out"
	candidates := slices.Collect(maps.Keys(k.schema))
	near := spelling.Nearest(key, candidates)
	if near == "" { // the right name in the wrong section
		name := "." + strings.ToLower(strings.TrimPrefix(key, prefix))
		if i := slices.IndexFunc(candidates, func(c string) bool { return strings.HasSuffix(c, name) }); i >= 0 {
			near = candidates[i]
		}
	}
	if near != "" {
		mend = "did you mean " + near + "?"
	}
	k.fault(key, line, "there is no such key", mend)
}

func (k *keyReader) fault(key string, line int, problem, mend string) {
	k.found.add(Fault{Key: key, Where: fmt.Sprintf("%s:%d", k.path, line), line: line, Problem: problem, Mend: mend})
}
