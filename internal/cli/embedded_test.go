package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/postroom/postroom/internal/cli"
	"github.com/postroom/postroom/internal/pgserver"
)

// Without database.url a command uses the PostgreSQL that a daemon runs, or starts it for itself.
func TestPostgreSQLOfOurOwn(t *testing.T) {
	if _, err := pgserver.Find(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	// PostgreSQL's user must be able to reach it, which t.TempDir does not allow as root.
	dir, err := os.MkdirTemp("/tmp", "postroom-cli-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	env := []string{"POSTROOM_DATA_DIR=" + dir}
	invoke(t, cli.Deps{}, env, "", "migrate").wants(t, cli.Done, "schema postroom is up to date")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := pgserver.Start(ctx, pgserver.Options{Dir: filepath.Join(dir, "postgresql")})
	if err != nil {
		t.Fatalf("the command must have stopped its server: %v", err)
	}
	invoke(t, cli.Deps{}, env, "", "status").wants(t, cli.Done, "nothing needs you")
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}
