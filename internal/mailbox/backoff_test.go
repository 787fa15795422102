package mailbox_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/mailbox"
)

func TestBackoffGrowsByClass(t *testing.T) {
	t.Parallel()
	tests := []struct {
		class    fault.Class
		failures int
		interval time.Duration
		want     time.Duration
	}{
		{fault.Transient, 1, time.Second, time.Minute},
		{fault.Transient, 2, time.Second, 2 * time.Minute},
		{fault.Transient, 6, time.Second, 32 * time.Minute},
		{fault.Transient, 7, time.Second, time.Hour},
		{fault.Transient, 1 << 30, time.Second, time.Hour},
		{fault.Transient, 0, time.Second, time.Minute},
		{fault.Transient, 1, 10 * time.Minute, 10 * time.Minute}, // never more often than the mailbox's own interval
		{fault.Auth, 1, time.Second, 5 * time.Minute},
		{fault.Auth, 2, time.Second, 20 * time.Minute},
		{fault.Auth, 3, time.Second, time.Hour},
		{fault.Permanent, 1, time.Second, time.Hour},
		{fault.Permanent, 9, 6 * time.Hour, 6 * time.Hour},
		{fault.Poison, 1, time.Second, time.Minute},
		{fault.Class("unheard of"), 1, time.Second, time.Minute},
		{fault.Stopping, 5, time.Hour, 0},
	}
	for _, tt := range tests {
		if got := mailbox.Backoff(tt.class, tt.failures, tt.interval, 0.5); got != tt.want {
			t.Errorf("Backoff(%s, %d, %s) = %s, want %s", tt.class, tt.failures, tt.interval, got, tt.want)
		}
	}
}

func TestBackoffStaysInItsBounds(t *testing.T) {
	t.Parallel()
	classes := []fault.Class{fault.Transient, fault.Auth, fault.Permanent, fault.Poison}
	rapid.Check(t, func(t *rapid.T) {
		class := rapid.SampledFrom(classes).Draw(t, "class")
		failures := rapid.IntRange(-3, 1000).Draw(t, "failures")
		interval := time.Duration(rapid.Int64Range(int64(time.Second), int64(48*time.Hour)).Draw(t, "interval"))
		jitter := rapid.Float64Range(0, 0.999).Draw(t, "jitter")
		got := mailbox.Backoff(class, failures, interval, jitter)
		if got < interval || got < 48*time.Second {
			t.Fatalf("got %s, want at least the interval %s and 48s", got, interval)
		}
		if most := max(interval, mailbox.BackoffCap+mailbox.BackoffCap/5); got > most {
			t.Fatalf("got %s, want at most %s", got, most)
		}
	})
}

func TestBackoffJitters(t *testing.T) {
	t.Parallel()
	low := mailbox.Backoff(fault.Transient, 3, time.Second, 0)
	high := mailbox.Backoff(fault.Transient, 3, time.Second, 1)
	if want := 4 * time.Minute * 8 / 10; low != want {
		t.Errorf("lowest: got %s, want %s", low, want)
	}
	if want := 4 * time.Minute * 12 / 10; high != want {
		t.Errorf("highest: got %s, want %s", high, want)
	}
}

func TestSpreadIsEvenAndSteady(t *testing.T) {
	t.Parallel()
	const interval, mailboxes, bins = time.Minute, 6000, 10
	var count [bins + 1]int
	for id := range int64(mailboxes) {
		got := mailbox.Spread(id, interval)
		if got < time.Second || got > interval {
			t.Fatalf("Spread(%d) = %s, want 1s to %s", id, got, interval)
		}
		if again := mailbox.Spread(id, interval); again != got {
			t.Fatalf("Spread(%d) = %s, then %s: want the same", id, got, again)
		}
		count[got*bins/interval]++
	}
	for bin, n := range count[:bins] {
		if n < mailboxes/bins/2 || n > mailboxes/bins*2 {
			t.Errorf("bin %d holds %d of %d mailboxes, want about %d", bin, n, mailboxes, mailboxes/bins)
		}
	}
	if got := mailbox.Spread(7, time.Second); got != time.Second {
		t.Errorf("Spread over 1s = %s, want 1s", got)
	}
}
