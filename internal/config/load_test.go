package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/postroom/postroom/internal/config"
)

// write puts text into a configuration file and returns its path.
func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "postroom.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// faultsOf loads text and returns its faults.
func faultsOf(t *testing.T, text string, environ ...string) []config.Fault {
	t.Helper()
	path := ""
	if text != "" {
		path = write(t, text)
	}
	_, _, err := config.Load(path, environ)
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*config.Error](err)
	if !ok {
		t.Fatalf("got error %T %v, want *config.Error", err, err)
	}
	return e.Faults
}

func load(t *testing.T, text string, environ ...string) (*config.Config, []string) {
	t.Helper()
	c, warnings, err := config.Load(write(t, text), environ)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c, warnings
}

func TestNothingGivenIsTheDefault(t *testing.T) {
	for name, path := range map[string]string{"no file": "", "empty file": write(t, ""), "empty sections": write(t, "log:\nadmin: {}\nlimits:\n  tries:\n")} {
		t.Run(name, func(t *testing.T) {
			c, warnings, err := config.Load(path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(warnings) > 0 {
				t.Errorf("got warnings %q, want none", warnings)
			}
			if diff := cmp.Diff(config.Default(), c, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
				t.Errorf("differs from the default (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFileAndEnvironmentAreMerged(t *testing.T) {
	c, _ := load(t, `
database:
  url: postgres://file@localhost/db
  schema: crm_mail
scheduler: {workers: 20, drain: 1m30s}
limits:
  batch_octets: 8MiB
admin: {listen: ""}
`, "POSTROOM_DATABASE_URL=postgres://env@localhost/db", "POSTROOM_SCHEDULER_WORKERS=30", "POSTROOM_DATABASE_MIGRATE=false",
		"POSTROOM_PARTIES_TIMEOUT=500ms", "POSTROOM_LIMITS_OCTETS_IN_FLIGHT=1GiB", "POSTROOM_DATABASE_SCHEMA=", "POSTROOM_CORPUS=/x",
		"HOME=/root", "POSTROOMISH=1")
	want := config.Default()
	want.Database.URL = "postgres://env@localhost/db"
	want.Database.Schema = "crm_mail" // an empty variable counts as not set
	want.Database.Migrate = false
	want.Scheduler.Workers = 30
	want.Scheduler.Drain = 90 * time.Second
	want.Limits.BatchOctets = 8 << 20
	want.Limits.OctetsInFlight = 1 << 30
	want.Admin.Listen = ""
	want.Parties.Timeout = 500 * time.Millisecond
	if diff := cmp.Diff(want, c, cmpopts.IgnoreUnexported(config.Config{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A section or key of the wrong form does not hide what is wrong elsewhere.
func TestMisshapenSectionHidesNothing(t *testing.T) {
	for name, text := range map[string]string{
		"a number":    "admin: 5\nlog: {level: loud}\nlimits: {tries: 0}\n",
		"an alias":    "x: &a {listen: y}\nadmin: *a\nlog: {level: loud}\nlimits: {tries: 0}\n",
		"twice a key": "admin: {listen: '127.0.0.1:1', listen: x}\nlog: {level: loud}\nlimits: {tries: 0}\n",
	} {
		t.Run(name, func(t *testing.T) {
			var keys []string
			for _, f := range faultsOf(t, text) {
				keys = append(keys, f.Key)
			}
			for _, key := range []string{"log.level", "limits.tries"} {
				if !slices.Contains(keys, key) {
					t.Errorf("got faults of %q, want %s among them", keys, key)
				}
			}
			if len(keys) < 3 || slices.Contains(keys, "limits.batch_octets") {
				t.Errorf("got faults of %q, want one of admin too, and no others", keys)
			}
		})
	}
}

func TestSpoolDirThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	if _, warnings := load(t, "spool_dir: "+dir); len(warnings) != 1 || !strings.Contains(warnings[0], "spool_dir "+dir) {
		t.Errorf("got warnings %q, want one that names the folder", warnings)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, warnings := load(t, "spool_dir: "+dir); len(warnings) > 0 {
		t.Errorf("got warnings %q of a folder that is there, want none", warnings)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	got := faultsOf(t, `
log:
  level: loud
scheduler:
  heartbeat: 5
  intervall: 3s
limits:
  batch_octets: 25
`, "POSTROOM_DATABSE_URL=postgres://x", "POSTROOM_LIMITS_TRIES=many")
	var keys []string
	for _, f := range got {
		keys = append(keys, f.Key)
		if f.Where == "" || f.Problem == "" || f.Mend == "" {
			t.Errorf("got fault %+v, want where, problem and mend", f)
		}
	}
	want := []string{"log.level", "scheduler.heartbeat", "scheduler.intervall", "limits.batch_octets", "", "limits.tries"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("faults in the order of the file (-want +got):\n%s", diff)
	}
}

func TestFaults(t *testing.T) {
	tests := []struct {
		name, text string
		environ    []string
		want       string // all of it in the one fault's line
	}{
		{"unknown key", "log:\n  lvel: info", nil, ":2: log.lvel: there is no such key; did you mean log.level?"},
		{"unknown section", "smtp:\n  host: x", nil, ":1: smtp: there is no such key; take it out"},
		{"key in the wrong section", "workers: 4", nil, "workers: there is no such key; did you mean scheduler.workers?"},
		{"upper case", "Log:\n  level: info", nil, "Log: there is no such key; did you mean log?"},
		{"merge key", "<<: {log: {level: info}}", nil, "<<: there is no such key"},
		{"twice", "log:\n  level: info\n  level: debug", nil, ":3: log.level: stands on line 2 already"},
		{"section twice", "log:\n  level: info\nlog:\n  format: json", nil, ":3: log: stands on line 1 already"},
		{"not a section", "database: postgres://localhost/x", nil, "database: is not a section"},
		{"list as file", "- log", nil, ":1: is not a section"},
		{"not YAML", "log: [", nil, "is not YAML: "},
		{"tab", "log:\n\tlevel: info", nil, "is not YAML: "},
		{"two documents", "log: {level: info}\n---\nlog: {level: warn}", nil, "more than one document"},
		{"alias", "data_dir: &x /a\nspool_dir: *x", nil, "spool_dir: is a YAML alias"},
		{"duration without unit", "scheduler: {heartbeat: 5}", nil, `:1: scheduler.heartbeat: 5 has no unit; write 5s for seconds or 5m for minutes`},
		{"duration as text without unit", `scheduler: {heartbeat: "5"}`, nil, `"5" has no unit; write 5s`},
		{"no duration", "scheduler: {heartbeat: soon}", nil, `"soon" is not a duration`},
		{"days", "scheduler: {drain: 1d}", nil, `"1d" is not a duration; write a number and a unit (ms, s, m, h)`},
		{"negative duration", "scheduler: {drain: -5s}", nil, "scheduler.drain: -5s is out of range; write a value from 0s to 1h0m0s"},
		{"size without unit", "limits: {batch_octets: 4194304}", nil, "limits.batch_octets: 4194304 has no unit"},
		{"size in MB", "limits: {batch_octets: 4MB}", nil, `"4MB" is not a size with a unit`},
		{"negative size", "limits: {batch_octets: -4MiB}", nil, `"-4MiB" is not a size`},
		{"number as text", `scheduler: {workers: "8"}`, nil, `scheduler.workers: "8" is not a whole number`},
		{"fraction", "scheduler: {workers: 8.5}", nil, "scheduler.workers: 8.5 is not a whole number"},
		{"text as number", "database: {schema: 7}", nil, "database.schema: 7 is not text"},
		{"yes", "database: {migrate: yes}", nil, `database.migrate: "yes" is not true or false`},
		{"list as value", "database: {schema: [a]}", nil, "database.schema: a list is not text"},
		{"section as value", "data_dir: {path: /x}", nil, "data_dir: a section is not text"},
		{"number from the environment", "", []string{"POSTROOM_SCHEDULER_WORKERS=8x"}, `$POSTROOM_SCHEDULER_WORKERS: scheduler.workers: "8x" is not a whole number`},
		{"unit from the environment", "", []string{"POSTROOM_SCHEDULER_DRAIN=30"}, `$POSTROOM_SCHEDULER_DRAIN: scheduler.drain: "30" has no unit`},
		{"unknown variable", "", []string{"POSTROOM_LOG_LVEL=info"}, "$POSTROOM_LOG_LVEL: no key has this name; did you mean POSTROOM_LOG_LEVEL?"},
		{"unlike any variable", "", []string{"POSTROOM_FROBNICATE=1"}, "$POSTROOM_FROBNICATE: no key has this name; unset it"},
		{"level", "log: {level: loud}", nil, `log.level: "loud" is none of its values; write one of debug, info, warn, error`},
		{"durability", "database: {durability: off}", nil, "database.durability"},
		{"schema", "database: {schema: Post-Room}", nil, "database.schema: is not the name of a schema"},
		{"system schema", "database: {schema: pg_catalog}", nil, "schema of PostgreSQL's own"},
		{"few connections", "database: {max_connections: 1}", nil, "database.max_connections: 1 is out of range; write a value from 4 to 1000"},
		{"relative directory", "data_dir: data", nil, "data_dir: is not an absolute path"},
		{"listen", "admin: {listen: 8025}", nil, "admin.listen: 8025 is not text"},
		{"listen without port", "admin: {listen: localhost}", nil, `admin.listen: "localhost" is not an address to listen on`},
		{"listen on a name", `admin: {listen: "mail.example:80"}`, nil, `admin.listen: "mail.example" is not an IP address`},
		{"stale too early", "scheduler: {heartbeat: 20s}", nil, "scheduler.stale_after: 30s is less than three times scheduler.heartbeat (20s); write 1m0s or more"},
		{"per host over workers", "scheduler: {workers: 2}", nil, "scheduler.per_host: 4 is more than scheduler.workers (2)"},
		{"batch over flight", "limits: {octets_in_flight: 2MiB}", nil, "limits.octets_in_flight: 2MiB is less than limits.batch_octets (4MiB)"},
		{"view", "parties: {view: 'people; DROP TABLE x'}", nil, "parties.view"},
		{"url", "database: {url: 'host=localhost dbname=x'}", nil, "database.url: is not a PostgreSQL URL"},
		{"other url", "database: {url: 'mysql://localhost/x'}", nil, "database.url: is not a PostgreSQL URL"},
		{"port in url", "database: {url: 'postgres://localhost:99999999/x'}", nil, "database.url: is a URL that PostgreSQL's client refuses"},
		{"password without url", "database: {password_file: /run/secret}", nil, "database.password_file: has no use without database.url"},
		{"relative password file", "database: {url: 'postgres://localhost/x', password_file: secret}", nil, "database.password_file: is neither an absolute path nor a credential"},
		{"path as credential", "database: {url: 'postgres://localhost/x', password_file: 'credential:../x'}", nil, "database.password_file: is neither"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := faultsOf(t, tt.text, tt.environ...)
			if len(got) != 1 {
				t.Fatalf("got %d faults %v, want one", len(got), got)
			}
			if !strings.Contains(got[0].String(), tt.want) {
				t.Errorf("got  %s\nwant %s", got[0], tt.want)
			}
		})
	}
}

func TestErrorCountsItsFaults(t *testing.T) {
	_, _, err := config.Load(write(t, "log: {level: loud, format: xml}\ndata_dir: x"), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "the configuration has 3 faults\n  ") || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("got %v, want a line for the number and one for each of 3 faults", err)
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	long := write(t, "# "+strings.Repeat("x", 1<<20))
	tests := map[string]struct{ path, want string }{
		"missing":   {filepath.Join(t.TempDir(), "none.yaml"), "does not exist"},
		"directory": {t.TempDir(), "cannot be read"},
		"long":      {long, "longer than 1 MiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, _, err := config.Load(tt.path, nil)
			if _, ok := errors.AsType[*config.Error](err); !ok || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want a *config.Error with %q", err, tt.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	open := write(t, "")
	if err := os.Chmod(open, 0o666); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := config.Load(open, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "can be changed by other users") {
		t.Errorf("got %q, want a warning about the file's mode", warnings)
	}
	tests := map[string]struct{ text, want string }{
		"listen on all":     {`admin: {listen: "0.0.0.0:8025"}`, "can be reached from other hosts"},
		"listen on no host": {`admin: {listen: ":8025"}`, "can be reached from other hosts"},
		"unverified":        {"database: {url: 'postgres://db.example/x?sslmode=require'}", "db.example without a verified certificate"},
		"in clear":          {"database: {url: 'postgres://db.example/x?sslmode=disable'}", "sslmode=verify-full"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, warnings := load(t, tt.text)
			if len(warnings) != 1 || !strings.Contains(warnings[0], tt.want) {
				t.Errorf("got %q, want one warning with %q", warnings, tt.want)
			}
		})
	}
	for name, text := range map[string]string{
		"socket":   "database: {url: 'postgres:///x?host=/run/postgresql'}",
		"loopback": "database: {url: 'postgres://[::1]/x?sslmode=disable'}",
		"verified": "database: {url: 'postgres://db.example/x?sslmode=verify-full'}",
		"listen":   `admin: {listen: "[::1]:8025"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, warnings := load(t, text); len(warnings) > 0 {
				t.Errorf("got %q, want no warning", warnings)
			}
		})
	}
}
