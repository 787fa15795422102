package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"

	"github.com/postroom/postroom/internal/config"
)

func TestValuesSayWhereTheyComeFrom(t *testing.T) {
	path := write(t, "log:\n  level: debug\n  format: json\n")
	c, _, err := config.Load(path, []string{"POSTROOM_LOG_FORMAT=text"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]config.Value{}
	for _, v := range c.Values() {
		got[v.Key] = v
	}
	want := []config.Value{
		{Key: "log.level", Value: "debug", From: path + ":2"},
		{Key: "log.format", Value: "text", From: "$POSTROOM_LOG_FORMAT"},
		{Key: "scheduler.drain", Value: "30s", From: config.FromDefault},
		{Key: "limits.batch_octets", Value: "4MiB", From: config.FromDefault},
	}
	for _, w := range want {
		if got[w.Key] != w {
			t.Errorf("got %+v, want %+v", got[w.Key], w)
		}
	}
}

func samplePath() string { return filepath.Join("..", "..", "configs", "postroom.yaml") }

func TestSampleIsTheDefault(t *testing.T) {
	c, warnings, err := config.Load(samplePath(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Errorf("got warnings %q, want none", warnings)
	}
	if diff := cmp.Diff(config.Default(), c, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
		t.Errorf("the sample differs from the default (-want +got):\n%s", diff)
	}
	for _, v := range c.Values() {
		if v.From == config.FromDefault {
			t.Errorf("%s does not stand in the sample", v.Key)
		}
	}
}

// Each key's comment says what it means and names the default that the code has.
func TestSampleIsCommented(t *testing.T) {
	octets, err := os.ReadFile(samplePath())
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(octets, &doc); err != nil {
		t.Fatal(err)
	}
	defaults := map[string]string{}
	c, _, err := config.Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range c.Values() {
		defaults[v.Key] = v.Value
	}
	stated := regexp.MustCompile(`(?m)^# Default: (\S+?)\.?( .*)?$`)
	var walk func(prefix string, node *yaml.Node)
	walk = func(prefix string, node *yaml.Node) {
		for i := 0; i+1 < len(node.Content); i += 2 {
			name, value := node.Content[i], node.Content[i+1]
			key := prefix + name.Value
			if name.HeadComment == "" {
				t.Errorf("line %d: %s has no comment", name.Line, key)
			}
			if value.Kind == yaml.MappingNode {
				walk(key+".", value)
				continue
			}
			m := stated.FindStringSubmatch(name.HeadComment)
			if m == nil {
				t.Errorf("line %d: the comment of %s names no default", name.Line, key)
				continue
			}
			if got := strings.Trim(m[1], `"`); got != defaults[key] {
				t.Errorf("line %d: the comment of %s says the default is %q, it is %q", name.Line, key, got, defaults[key])
			}
		}
	}
	walk("", doc.Content[0])
}

func TestParseOctets(t *testing.T) {
	for text, want := range map[string]config.Octets{"0B": 0, "1B": 1, "4KiB": 4096, "25MiB": 25 << 20, "25 MiB": 25 << 20, "1GiB": 1 << 30, "2TiB": 2 << 40} {
		if got, err := config.ParseOctets(text); got != want || err != nil {
			t.Errorf("ParseOctets(%q): got %d, %v; want %d", text, int64(got), err, int64(want))
		}
	}
	for _, text := range []string{"", "25", "MiB", "-1MiB", "1.5MiB", "25MB", "25M", "25mib", "9999999TiB", "99999999999999999999B", "1MiBKiB", "0x10B", "٣MiB"} {
		if got, err := config.ParseOctets(text); err == nil {
			t.Errorf("ParseOctets(%q): got %v, want an error", text, got)
		}
	}
}

func TestOctetsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := config.Octets(rapid.Int64Min(0).Draw(t, "octets"))
		got, err := config.ParseOctets(want.String())
		if got != want || err != nil {
			t.Fatalf("ParseOctets(%q): got %d, %v; want %d", want, int64(got), err, int64(want))
		}
	})
}

// Whatever stands in the file, Load gives a valid configuration or faults that can be shown; it never panics.
func FuzzLoad(f *testing.F) {
	for _, seed := range []string{"", "log: {level: info}", "a: &a [*a]", "? [x]\n: y", "log: !!binary aGk=", "1: 2", "log:\n  level: !x y", "%YAML 1.1\n---\nlog:", "\xff\xfe", "scheduler: {drain: 1e9}", "log: ~", "database: {url: \"\\0\"}"} {
		f.Add(seed)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "fuzz.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, _, err := config.Load(path, nil)
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v, want either", c, err)
		}
		if err != nil && len(err.Error()) > 64<<10 && len(text) < 1000 {
			t.Fatalf("got an error of %d octets", len(err.Error()))
		}
	})
}
