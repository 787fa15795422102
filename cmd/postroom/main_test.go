package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postroom/postroom/internal/cli"
)

// invoke runs the program with a configuration file that holds text.
func invoke(t *testing.T, text string, args ...string) (code int, out, errs string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postroom.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var o, e bytes.Buffer
	code = run(t.Context(), args, []string{"POSTROOM_CONFIG=" + path}, cli.Streams{In: strings.NewReader(""), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func TestExitCodes(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		args []string
		want int
		out  string
	}{
		"done":                   {"", []string{"version"}, 0, "postroom "},
		"failed":                 {"", []string{"inspect", "/nonexistent"}, 1, "no such file"},
		"usage":                  {"", []string{"frob"}, 2, `no command "frob"`},
		"configuration":          {"frob: 1", []string{"serve"}, 78, "frob: there is no such key"},
		"configuration, checked": {"", []string{"config", "check"}, 0, "ok: "},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errs := invoke(t, tt.text, tt.args...)
			if code != tt.want || !strings.Contains(out+errs, tt.out) {
				t.Errorf("got %d %q %q, want %d and %q", code, out, errs, tt.want, tt.out)
			}
		})
	}
}
