package pgserver_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/postroom/postroom/internal/pgserver"
)

func TestRunningFindsAServerWithoutItsLock(t *testing.T) {
	needPostgres(t)
	ctx, dir := bounded(t), folder(t)
	if url, ok := pgserver.Running(dir); ok {
		t.Errorf("in an empty folder: got %q, want nothing", url)
	}
	s, err := pgserver.Start(ctx, pgserver.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	url, ok := pgserver.Running(dir)
	if !ok || url != s.URL() {
		t.Errorf("while it runs: got %q, %v; want %q", url, ok, s.URL())
	}
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Errorf("connect to what was found: %v", err)
	} else if err := conn.Close(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	if url, ok := pgserver.Running(dir); ok {
		t.Errorf("after it was stopped: got %q, want nothing", url)
	}
}
