package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/postroom/postroom/internal/apply"
	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/poller"
	"github.com/postroom/postroom/internal/raw"
	"github.com/postroom/postroom/internal/store"
)

// away is a server that cannot be reached, and notes who wanted to log in.
type away struct{ usernames []string }

func (a *away) Open(_ context.Context, _ *mailbox.Profile, username, _ string) (poller.Session, error) {
	a.usernames = append(a.usernames, username)
	return nil, fault.New(fault.Transient, "connect_refused", "", errors.New("connection refused"))
}

// organise applies a forward mailbox with this user name.
func organise(t *testing.T, db *store.DB, username string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "organisation.yaml")
	text := fmt.Sprintf(`
profiles:
  - {name: office, protocol: imap, host: imap.example.com}
mailboxes:
  - {name: F, kind: forward, address: fwd@example.com, profile: office, username: %s, password_file: /x, start: all}
`, username)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	desired, err := apply.Load([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := apply.NewPlan(t.Context(), db, desired)
	if err != nil {
		t.Fatal(err)
	}
	if err := apply.Execute(t.Context(), db, plan); err != nil {
		t.Fatal(err)
	}
}

// A lease that was claimed after a change must not be used with the record from before it, whether a hint was heard or not.
func TestAPollUsesTheRecordAsItIsNow(t *testing.T) {
	db := pgtest.New(t)
	log := slog.New(slog.DiscardHandler)
	organise(t, db, "before")
	r := newRecords(db, log)
	if err := r.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	daemon, err := db.Register(t.Context(), "test", 1, "test", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	server := &away{}
	raws := raw.New(db.Pool())
	polls := onePoll{db: db, records: r, log: log, poller: poller.New(poller.Options{
		Openers: map[mailbox.Protocol]poller.Opener{mailbox.IMAP: server}, Ledger: db, Octets: raws, Disposer: db, Log: log,
		Secret: func(string) (string, error) { return "pw", nil }, InFlight: semaphore.NewWeighted(1), MaxInFlight: 1,
	})}
	for _, username := range []string{"first", "second"} {
		organise(t, db, username)
		leases, _, err := daemon.Claim(t.Context(), 1, 1)
		if err != nil || len(leases) != 1 {
			t.Fatalf("claimed %d, %v", len(leases), err)
		}
		if _, err := polls.run(t.Context(), leases[0]); fault.ClassOf(err) != fault.Transient {
			t.Errorf("got %v", err)
		}
		if got := server.usernames[len(server.usernames)-1]; got != username {
			t.Errorf("logged in as %q, want %q", got, username)
		}
		if err := daemon.Release(t.Context(), leases[0], 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Pool().Exec(t.Context(), `UPDATE mailbox SET enabled = false`); err != nil {
		t.Fatal(err)
	}
	_, err = polls.run(t.Context(), mailbox.Lease{MailboxID: 1})
	if fault.ClassOf(err) != fault.Stopping || len(server.usernames) != 2 {
		t.Errorf("a disabled mailbox: got %v after %d log-ins", err, len(server.usernames))
	}
}
