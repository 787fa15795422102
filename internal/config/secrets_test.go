package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postroom/postroom/internal/config"
	"github.com/postroom/postroom/internal/fault"
)

const password = "p@ss/w?rd&x=%41 ü"

func secretFile(t *testing.T, dir, name string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPasswordReachesTheClient(t *testing.T) {
	dir := t.TempDir()
	path := secretFile(t, dir, "database_password")
	tests := map[string]struct {
		url, file, credentials string
	}{
		"file":               {"postgres://me@localhost/db?sslmode=disable", path, ""},
		"file, no user":      {"postgres:///db?host=/run/postgresql", path, ""},
		"credential by name": {"postgres://me@localhost/db", "credential:database_password", dir},
		"credential":         {"postgres://me@localhost/db", "", dir},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _ := load(t, fmt.Sprintf("database: {url: %q, password_file: %q}", tt.url, tt.file), "CREDENTIALS_DIRECTORY="+tt.credentials)
			if got := c.CredentialsDir(); got != tt.credentials {
				t.Errorf("got credentials directory %q, want %q", got, tt.credentials)
			}
			u, err := c.DatabaseURL()
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := pgconn.ParseConfig(u)
			if err != nil {
				t.Fatal(err)
			}
			if parsed.Password != password || parsed.Database != "db" {
				t.Errorf("the client would use database %q and password %q, want db and %q", parsed.Database, parsed.Password, password)
			}
		})
	}
}

func TestPasswordFileThatIsMissing(t *testing.T) {
	c, _ := load(t, "database: {url: 'postgres://me@localhost/db', password_file: /nonexistent/secret}")
	u, err := c.DatabaseURL()
	if class, code, _, hint := fault.Describe(err); class != fault.Permanent || code != "secret_missing" || hint == "" || u != "" {
		t.Errorf("got %q, class %q, code %q, hint %q; want a permanent secret_missing with a hint", u, class, code, hint)
	}
}

func TestNoURLNeedsNoPassword(t *testing.T) {
	dir := t.TempDir()
	secretFile(t, dir, "database_password")
	c, _ := load(t, "", "CREDENTIALS_DIRECTORY="+dir)
	if u, err := c.DatabaseURL(); u != "" || err != nil {
		t.Errorf(`got %q, %v; want ""`, u, err)
	}
}

func TestPasswordInTheURL(t *testing.T) {
	for _, u := range []string{"postgres://me:hunter2@localhost/db", "postgres://me@localhost/db?password=hunter2"} {
		got := faultsOf(t, "database: {url: '"+u+"'}")
		if len(got) != 1 || got[0].Key != "database.url" || !strings.Contains(got[0].String(), "holds a password") {
			t.Errorf("in the file: got %v, want one fault about the password", got)
		}
		if strings.Contains(fmt.Sprint(got), "hunter2") {
			t.Errorf("the fault shows the password: %v", got)
		}
		c, warnings := load(t, "", "POSTROOM_DATABASE_URL="+u)
		if len(warnings) != 1 || !strings.Contains(warnings[0], "password_file is safer") {
			t.Errorf("in the environment: got warnings %q, want one", warnings)
		}
		if full, err := c.DatabaseURL(); full != u || err != nil {
			t.Errorf("got URL %q, %v; want it unchanged", full, err)
		}
		if shown := fmt.Sprint(c.Values(), warnings); strings.Contains(shown, "hunter2") {
			t.Errorf("what is printed shows the password: %s", shown)
		}
	}
	got := faultsOf(t, "database: {password_file: /run/secret}", "POSTROOM_DATABASE_URL=postgres://me:hunter2@localhost/db")
	if len(got) != 1 || got[0].Key != "database.password_file" {
		t.Errorf("two passwords: got %v, want one fault", got)
	}
}

// A URL that cannot be parsed may hold a password anywhere: none of it is shown.
func TestBrokenURLIsNotShown(t *testing.T) {
	for _, u := range []string{"postgres://me:hunter2@[::1/db", "postgres://me:hunter2%zz@localhost/db", "host=localhost password=hunter2", "hunter2"} {
		for _, got := range [][]config.Fault{faultsOf(t, "database: {url: '"+u+"'}"), faultsOf(t, "", "POSTROOM_DATABASE_URL="+u)} {
			if len(got) != 1 || strings.Contains(fmt.Sprint(got), "hunter2") {
				t.Errorf("got %v, want one fault without the URL", got)
			}
		}
	}
}
