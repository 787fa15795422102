package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/pgtest"
	"github.com/postroom/postroom/internal/store"
)

type stateRow struct {
	failures                int
	class, code, text, hint *string
	since, success, polled  *time.Time
}

func readState(t *testing.T, db *store.DB, id int64) (s stateRow) {
	t.Helper()
	err := db.Pool().QueryRow(t.Context(), `
		SELECT failures, error_class, error_code, error_text, error_hint, error_since, last_success_at, last_poll_at
		FROM mailbox_state WHERE mailbox_id = $1`, id).
		Scan(&s.failures, &s.class, &s.code, &s.text, &s.hint, &s.since, &s.success, &s.polled)
	if err != nil {
		t.Fatalf("read state: %v", err)
	}
	return s
}

func TestPollStates(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	l := claimOne(t, register(t, db))

	refused := fault.New(fault.Auth, "login_refused", "mend the password", errors.New("the server said NO"))
	wait, err := db.PollFailed(t.Context(), l, refused)
	if err != nil || wait < 4*time.Minute || wait > 6*time.Minute {
		t.Errorf("first failure: got %s, %v, want about 5m", wait, err)
	}
	s := readState(t, db, m.ID)
	if s.failures != 1 || *s.class != "auth" || *s.code != "login_refused" || *s.text != "the server said NO" ||
		*s.hint != "mend the password" || s.since == nil || s.success != nil {
		t.Errorf("state after a failure: %+v", s)
	}
	since := *s.since
	wait, err = db.PollFailed(t.Context(), l, errors.New("connection reset"))
	if err != nil || wait < 90*time.Second || wait > 3*time.Minute {
		t.Errorf("second failure: got %s, %v, want about 2m", wait, err)
	}
	if s = readState(t, db, m.ID); s.failures != 2 || *s.class != "transient" || *s.code != "unclassified" || !s.since.Equal(since) {
		t.Errorf("state after the second failure: %+v, want since %s", s, since)
	}

	// Being stopped is nobody's failure.
	if wait, err = db.PollFailed(t.Context(), l, context.Canceled); wait != 0 || err != nil {
		t.Errorf("stopped: got %s, %v, want 0", wait, err)
	}
	if s = readState(t, db, m.ID); s.failures != 2 {
		t.Errorf("stopping counted as a failure: %+v", s)
	}

	wait, err = db.PollSucceeded(t.Context(), l)
	if want := mailbox.Spread(m.ID, time.Minute); err != nil || wait != want {
		t.Errorf("first success: got %s, %v, want %s", wait, err, want)
	}
	if s = readState(t, db, m.ID); s.failures != 0 || s.class != nil || s.code != nil || s.text != nil || s.hint != nil ||
		s.since != nil || s.success == nil {
		t.Errorf("state after success: %+v, want no error", s)
	}
	if wait, err = db.PollSucceeded(t.Context(), l); err != nil || wait != time.Minute {
		t.Errorf("second success: got %s, %v, want the interval 1m", wait, err)
	}
}

func TestStateTextIsMadeFit(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	m := polled(t, db, "a", "h")
	l := claimOne(t, register(t, db))
	tests := []struct {
		name, text string
		want       func(string) bool
	}{
		{"nul and controls", "a\x00b\r\nc\x1b[31m", func(s string) bool { return s == "a b  c [31m" }},
		{"invalid UTF-8", "caf\xe9", func(s string) bool { return s == "caf\uFFFD" }},
		{"bidi override", "a\u202eb", func(s string) bool { return s == "a b" }},
		{"500 stay", strings.Repeat("x", 500), func(s string) bool { return len(s) == 500 && !strings.Contains(s, "…") }},
		{"long", strings.Repeat("é", 400), func(s string) bool { return len(s) <= 500 && len(s) > 490 && strings.HasSuffix(s, "é…") }},
		{"empty", "", func(s string) bool { return s == "" }},
	}
	for _, tt := range tests {
		if _, err := db.PollFailed(t.Context(), l, fault.New(fault.Permanent, "c", tt.text, errors.New(tt.text))); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		s := readState(t, db, m.ID)
		if !tt.want(*s.text) || !utf8.ValidString(*s.text) || !tt.want(*s.hint) {
			t.Errorf("%s: got text %q, hint %q", tt.name, *s.text, *s.hint)
		}
	}
}
