package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/postroom/postroom/internal/cli"
	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/fault"
)

// result is what a run of the program left behind.
type result struct {
	code     int
	out, err string
}

// invoke runs the program as a process would, with standard input stdin.
func invoke(t *testing.T, deps cli.Deps, env []string, stdin string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	if deps.Version == "" {
		deps.Version = "v1.2.3"
	}
	// Without this the configuration of the machine would be read.
	env = append([]string{"POSTROOM_CONFIG=" + empty(t)}, env...)
	code := cli.Run(t.Context(), deps, args, env, cli.Streams{In: strings.NewReader(stdin), Out: &out, Err: &errs})
	return result{code, out.String(), errs.String()}
}

func run(t *testing.T, args ...string) result {
	t.Helper()
	return invoke(t, cli.Deps{}, nil, "", args...)
}

func empty(t *testing.T) string {
	t.Helper()
	return file(t, "empty.yaml", "")
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	if dec.More() {
		t.Fatalf("got more than one value: %q", text)
	}
	return v
}

// wants fails the test unless the run ended with code and wrote each of want: to standard error if it failed.
func (r result) wants(t *testing.T, code int, want ...string) {
	t.Helper()
	text := r.out
	if code != cli.Done {
		text = r.err
	}
	if r.code != code {
		t.Errorf("got exit code %d, want %d\nout: %s\nerr: %s", r.code, code, r.out, r.err)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("got %q, want it to hold %q", text, w)
		}
	}
}

// commands calls fn for every command that is ours.
func commands(root *cobra.Command, fn func(c *cobra.Command)) {
	fn(root)
	for _, c := range root.Commands() {
		if c.Name() != "help" && c.Name() != "completion" {
			commands(c, fn)
		}
	}
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	deps := cli.Deps{Demo: func(context.Context, cli.DemoOptions, cli.Streams) error { return nil }}
	n := 0
	commands(cli.Root(deps), func(c *cobra.Command) {
		n++
		if c.Short == "" || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: got short %q and example %q, want both, and the command in the example", c.CommandPath(), c.Short, c.Example)
		}
		for line := range strings.Lines(c.Example + "\n" + c.Long) {
			if len([]rune(strings.TrimRight(line, "\n"))) > 120 {
				t.Errorf("%s: a line of its help is longer than 120 characters: %s", c.CommandPath(), line)
			}
		}
		r := invoke(t, deps, nil, "", append(strings.Fields(c.CommandPath())[1:], "--help")...)
		r.wants(t, cli.Done, "Examples:")
	})
	if n < 20 {
		t.Errorf("walked %d commands, want all of them", n)
	}
}

func TestUsageErrors(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string
	}{
		"no command":           {nil, "postroom needs a command: activity, apply"},
		"unknown command":      {[]string{"frob"}, `postroom has no command "frob"`},
		"slip":                 {[]string{"serv"}, "did you mean serve?"},
		"no command of group":  {[]string{"mailbox"}, "postroom mailbox needs a command: list, poll, show"},
		"unknown of group":     {[]string{"mailbox", "lst"}, `postroom mailbox has no command "lst", did you mean list?`},
		"unknown flag":         {[]string{"status", "--frob"}, "unknown flag: --frob"},
		"flag without value":   {[]string{"status", "--output"}, "flag needs an argument"},
		"unknown output":       {[]string{"version", "--output", "xml"}, `--output is text or json, not "xml"`},
		"too many arguments":   {[]string{"status", "x"}, "unknown command"},
		"too few arguments":    {[]string{"explain"}, "accepts 1 arg(s), received 0"},
		"no file to inspect":   {[]string{"inspect"}, "inspect needs at least one file"},
		"inspect as what":      {[]string{"inspect", "--as", "x", "-"}, "--as is forward or user"},
		"apply without a file": {[]string{"apply"}, "apply needs a file or folder: -f PATH"},
		"no id":                {[]string{"activity", "show", "17"}, `"17" is not the id of an activity`},
		"no ordinal":           {[]string{"activity", "attachment", "00000000-0000-7000-8000-0000000000a1", "x"}, `"x" is not the number of an attachment`},
		"since":                {[]string{"activity", "list", "--since", "yesterday"}, "--since is a time back"},
		"limit":                {[]string{"activity", "list", "--limit", "0"}, "--limit is a number from 1 to 10000"},
		"find nothing":         {[]string{"find"}, "find needs --message-id, --address or --since"},
		"timeout without unit": {[]string{"mailbox", "poll", "x", "--timeout", "5"}, "missing unit"},
		"quarantine limit":     {[]string{"quarantine", "list", "--limit=-1"}, "--limit is a number"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := run(t, tt.args...)
			r.wants(t, cli.Usage, "postroom: ", tt.want, "\n  hint: postroom", "--help shows how it is used")
			if r.out != "" {
				t.Errorf("got %q on standard output, want nothing", r.out)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	run(t, "version").wants(t, cli.Done, "postroom v1.2.3\n")
	r := run(t, "version", "--output", "json")
	if got := decode[map[string]string](t, r.out); got["version"] != "v1.2.3" {
		t.Errorf("got %v, want version v1.2.3", got)
	}
}

func TestServeGetsTheConfiguration(t *testing.T) {
	path := file(t, "postroom.yaml", "log: {level: debug}\nadmin: {listen: 0.0.0.0:1}")
	var got *config.Config
	var warned []string
	deps := cli.Deps{Serve: func(_ context.Context, load cli.LoadConfig, _ cli.Streams) (err error) {
		got, warned, err = load()
		return err
	}}
	invoke(t, deps, nil, "", "serve", "-c", path).wants(t, cli.Done)
	if got == nil || got.Log.Level != "debug" || len(warned) != 1 {
		t.Errorf("got %+v and warnings %q, want the file's values and one warning", got, warned)
	}
}

func TestErrorsSayWhatHappenedAndWhatToDo(t *testing.T) {
	tests := map[string]struct {
		err  error
		want string
	}{
		"fault":   {fault.New(fault.Permanent, "x", "start PostgreSQL", errors.New("connection refused")), "postroom: connection refused\n  hint: start PostgreSQL\n"},
		"wrapped": {fault.Wrap(fault.New(fault.Auth, "x", "mend it", errors.New("refused")), "log in"), "postroom: log in: refused\n  hint: mend it\n"},
		"plain":   {errors.New("it broke"), "postroom: it broke\n"},
		"stopped": {context.Canceled, "postroom: stopped\n"},
		"hostile": {errors.New("said \x1b[31m\u202e\x00"), "postroom: said \uFFFD[31m\uFFFD\uFFFD\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			deps := cli.Deps{Serve: func(context.Context, cli.LoadConfig, cli.Streams) error { return tt.err }}
			r := invoke(t, deps, nil, "", "serve")
			if r.code != cli.Failed || r.err != tt.want || r.out != "" {
				t.Errorf("got %d %q, want %d %q", r.code, r.err, cli.Failed, tt.want)
			}
		})
	}
}

func TestDemoIsThereOnlyIfItIsBuiltIn(t *testing.T) {
	run(t, "demo").wants(t, cli.Usage, `no command "demo"`)
	var got cli.DemoOptions
	deps := cli.Deps{Demo: func(_ context.Context, o cli.DemoOptions, _ cli.Streams) error { got = o; return nil }}
	invoke(t, deps, nil, "", "demo", "--once", "--dir", "x", "--output", "json").wants(t, cli.Done)
	if want := (cli.DemoOptions{Dir: "x", Once: true, JSON: true}); got != want {
		t.Errorf("demo was called with %+v, want %+v", got, want)
	}
}

func TestConfigCheck(t *testing.T) {
	good := file(t, "good.yaml", "log: {level: warn}")
	run(t, "config", "check", "--config", good).wants(t, cli.Done, "ok: "+good)

	bad := file(t, "bad.yaml", "log:\n  level: loud\nscheduler:\n  heartbeat: 5\nfrob: 1\n")
	r := run(t, "config", "check", "--config", bad)
	r.wants(t, cli.Configuration, "the configuration has 3 faults", bad+":2: log.level: ", bad+":4: scheduler.heartbeat: 5 has no unit", bad+":5: frob: there is no such key")

	r = invoke(t, cli.Deps{}, []string{"POSTROOM_LOG_LVEL=info"}, "", "config", "check")
	r.wants(t, cli.Configuration, "did you mean POSTROOM_LOG_LEVEL?")

	r = run(t, "config", "check", "--config", "/nonexistent.yaml")
	r.wants(t, cli.Configuration, "/nonexistent.yaml: does not exist", "hint: ")

	secret := file(t, "secret.yaml", "database: {url: 'postgres://x@localhost/y', password_file: /nonexistent/secret}")
	run(t, "config", "check", "--config", secret).wants(t, cli.Configuration, "/nonexistent/secret", "hint: ")
}

func TestConfigCheckAsJSON(t *testing.T) {
	type report struct {
		OK       bool
		File     string
		Faults   []config.Fault
		Warnings []string
	}
	bad := file(t, "bad.yaml", "log: {level: loud, format: xml}\nadmin: {listen: ':80'}")
	r := run(t, "config", "check", "--config", bad, "--output", "json")
	got := decode[report](t, r.out)
	if r.code != cli.Configuration || got.OK || len(got.Faults) != 2 || len(got.Warnings) != 1 || got.File != bad {
		t.Errorf("got %d %+v, want 2 faults and a warning", r.code, got)
	}
	got = decode[report](t, run(t, "config", "check", "--output", "json").out)
	if !got.OK || got.Faults == nil || got.Warnings == nil {
		t.Errorf("got %+v, want ok with empty lists", got)
	}
}

func TestConfigPrint(t *testing.T) {
	path := file(t, "postroom.yaml", "scheduler:\n  drain: 10s\n")
	env := []string{"POSTROOM_DATABASE_URL=postgres://me:hunter2@localhost/db"}
	r := invoke(t, cli.Deps{}, env, "", "config", "print", "-c", path)
	r.wants(t, cli.Done, "scheduler.drain", path+":2", "$POSTROOM_DATABASE_URL", "default", "postgres://me:xxxxx@localhost/db")
	if strings.Contains(r.out+r.err, "hunter2") {
		t.Errorf("the password is shown: %s", r.out)
	}
	values := decode[[]config.Value](t, invoke(t, cli.Deps{}, env, "", "config", "print", "-c", path, "--output", "json").out)
	if len(values) < 20 {
		t.Errorf("got %d values, want all keys", len(values))
	}
}

func TestTheFileIsFoundByFlagThenEnvironment(t *testing.T) {
	one, two := file(t, "one.yaml", "log: {level: debug}"), file(t, "two.yaml", "log: {level: error}")
	env := []string{"POSTROOM_CONFIG=" + two}
	level := func(args ...string) string {
		var b bytes.Buffer
		cli.Run(t.Context(), cli.Deps{}, append(args, "config", "print", "--output", "json"), env, cli.Streams{Out: &b, Err: &b})
		for _, v := range decode[[]config.Value](t, b.String()) {
			if v.Key == "log.level" {
				return v.Value
			}
		}
		return ""
	}
	if got := level(); got != "error" {
		t.Errorf("with $POSTROOM_CONFIG: got %q, want error", got)
	}
	if got := level("-c", one); got != "debug" {
		t.Errorf("with --config: got %q, want debug", got)
	}
}
