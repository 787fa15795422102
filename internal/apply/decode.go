package apply

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/postroom/postroom/internal/spelling"
)

// value is a node of a file, with where it stands. Its methods read it strictly: what is wrong becomes a Problem, and
// the zero value is returned.
type value struct {
	problems *RecordsError
	at       place
	node     *yaml.Node
}

func (v value) wrong(mend, format string, args ...any) { v.problems.add(v.at, mend, format, args...) }

func (v value) child(node *yaml.Node, line int, key string) value {
	for node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	return value{problems: v.problems, node: node, at: place{file: v.at.file, line: line, key: key}}
}

func (v value) null() bool { return v.node.Kind == yaml.ScalarNode && v.node.ShortTag() == "!!null" }

// keys is what a mapping may hold: how each key is read.
type keys map[string]func(value)

// mapping reads the keys of a mapping and returns where each of them stands.
func (v value) mapping(known keys) map[string]place {
	seen := map[string]place{}
	if v.node.Kind != yaml.MappingNode {
		v.wrong("write its keys indented below it", "must hold keys, but is %s", kindOf(v.node))
		return seen
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		key := v.node.Content[i]
		name := key.Value
		path := name
		if v.at.key != "" {
			path = v.at.key + "." + name
		}
		child := v.child(v.node.Content[i+1], key.Line, path)
		read, ok := known[name]
		switch first, again := seen[name]; {
		case key.Kind != yaml.ScalarNode || len(name) > 100:
			v.wrong("", "line %d does not begin with a key", key.Line)
		case again:
			child.wrong("remove one of the two", "stands here a second time, first on line %d", first.line)
		case !ok:
			child.wrong(suggest(name, known), "unknown key")
		case child.null():
			seen[name] = child.at
			child.wrong("give it a value or remove the key", "is empty")
		default:
			seen[name] = child.at
			read(child)
		}
	}
	return seen
}

// list reads a list's entries.
func (v value) list(read func(value)) {
	if v.node.Kind != yaml.SequenceNode {
		v.wrong("begin each entry with a dash", "must be a list, but is %s", kindOf(v.node))
		return
	}
	for i, entry := range v.node.Content {
		read(v.child(entry, entry.Line, fmt.Sprintf("%s[%d]", v.at.key, i)))
	}
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	default:
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!null":
		return "empty"
	case "!!timestamp":
		return "a date"
	}
	return "a text"
}

// str reads a text on one line.
func (v value) str() string {
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!str" {
		v.wrong(`write it in quotes if it is meant as it stands`, "must be a text, but is %s", kindOf(v.node))
		return ""
	}
	s := v.node.Value
	switch {
	case strings.TrimSpace(s) == "":
		v.wrong("give it a value or remove the key", "is empty")
		return ""
	case len(s) > 1000:
		v.wrong("", "is longer than 1000 octets")
		return ""
	case s != strings.TrimSpace(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }):
		v.wrong("", "has white space around it or holds control characters")
		return ""
	}
	return s
}

// strs reads a list of texts, or one text as a list of one.
func (v value) strs() []string {
	if v.node.Kind == yaml.ScalarNode {
		if s := v.str(); s != "" {
			return []string{s}
		}
		return nil
	}
	var all []string
	v.list(func(entry value) {
		s := entry.str()
		if slices.Contains(all, s) {
			entry.wrong("remove one of the two", "stands in the list twice")
		} else if s != "" {
			all = append(all, s)
		}
	})
	return all
}

// oneOf reads one of the words that are allowed. Only a short word is repeated in a problem.
func oneOf[T ~string](v value, allowed ...T) T {
	s := T(v.str())
	if s == "" || slices.Contains(allowed, s) {
		return s
	}
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	v.wrong("write "+orList(words), "%s is not known", quote(string(s)))
	return ""
}

func (v value) boolean() bool {
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!bool" {
		v.wrong("write true or false", "must be true or false, but is %s", kindOf(v.node))
		return false
	}
	return strings.EqualFold(v.node.Value, "true")
}

func (v value) integer(least, most int) int {
	n, err := strconv.Atoi(v.node.Value)
	if v.node.Kind != yaml.ScalarNode || v.node.ShortTag() != "!!int" || err != nil {
		v.wrong(fmt.Sprintf("write a number from %d to %d", least, most), "must be a whole number, but is %s", kindOf(v.node))
		return 0
	}
	if n < least || n > most {
		v.wrong(fmt.Sprintf("write a number from %d to %d", least, most), "%d is out of range", n)
		return 0
	}
	return n
}

// duration reads a duration with its unit.
func (v value) duration(least, most time.Duration) time.Duration {
	const mend = `write a duration with its unit: 30s, 5m, 24h`
	if v.node.Kind == yaml.ScalarNode && v.node.ShortTag() != "!!str" {
		v.wrong(mend, "%s has no unit", quote(v.node.Value))
		return 0
	}
	s := v.str()
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		v.wrong(mend, "%s is not a duration", quote(s))
		return 0
	}
	if d < least || d > most {
		v.wrong(fmt.Sprintf("write %s to %s", short(least), short(most)), "%s is out of range", quote(s))
		return 0
	}
	return d
}

// size reads a number of octets with its unit.
func (v value) size(least, most int64) int64 {
	const mend = "write a whole number and a unit (B, KiB, MiB, GiB), such as 25MiB"
	if v.node.Kind == yaml.ScalarNode && v.node.ShortTag() != "!!str" {
		v.wrong(mend, "%s has no unit", quote(v.node.Value))
		return 0
	}
	s := v.str()
	if s == "" {
		return 0
	}
	n, err := parseSize(s)
	if err != nil {
		v.wrong(mend, "%s is not a size with a unit", quote(s))
		return 0
	}
	if n < least || n > most {
		v.wrong(fmt.Sprintf("write %s to %s", sizeText(least), sizeText(most)), "%s is out of range", quote(s))
		return 0
	}
	return n
}

// suggest returns what to do about a key that is not known.
func suggest(name string, known keys) string {
	if best := spelling.Nearest(name, slices.Collect(maps.Keys(known))); best != "" {
		return fmt.Sprintf("did you mean %s?", allowed(best, known))
	}
	words := map[string]bool{}
	for key := range known {
		words[allowed(key, known)] = true
	}
	return "known here: " + strings.Join(slices.Sorted(maps.Keys(words)), ", ")
}

// allowed returns key, or where that is a secret, which is read only to be refused, the key for a file that holds it.
func allowed(key string, known keys) string {
	for _, file := range []string{key + "_file", "plus_" + key + "_file"} {
		if _, ok := known[file]; ok {
			return file
		}
	}
	return key
}

// quote shows a value in a problem, shortened.
func quote(s string) string {
	if len(s) > 40 {
		s = strings.ToValidUTF8(s[:40], "") + "…"
	}
	return strconv.Quote(s)
}

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
