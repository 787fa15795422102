package mailbox_test

import (
	"testing"
	"time"

	"github.com/postroom/postroom/internal/mailbox"
)

func TestDispositionOf(t *testing.T) {
	imap := &mailbox.Profile{Protocol: mailbox.IMAP}
	pop3 := &mailbox.Profile{Protocol: mailbox.POP3}
	queue := mailbox.Mailbox{Kind: mailbox.Queue, Disposition: mailbox.Delete, Profile: imap, Undeliverable: "Lost"}
	deletesIgnored := queue
	deletesIgnored.DeleteIgnored = true
	onPOP3 := queue
	onPOP3.Profile = pop3
	noFolder := queue
	noFolder.Undeliverable = ""
	user := mailbox.Mailbox{Kind: mailbox.User, Disposition: mailbox.Move, MoveTo: "Done", Profile: imap, DeleteIgnored: true}
	forward := mailbox.Mailbox{Kind: mailbox.Forward, Disposition: mailbox.Delete, Profile: imap}
	for name, c := range map[string]struct {
		m       mailbox.Mailbox
		outcome string
		want    mailbox.Disposition
		target  string
	}{
		"recorded as configured":              {queue, "recorded", mailbox.Delete, ""},
		"duplicate as configured":             {user, "duplicate", mailbox.Move, "Done"},
		"a queue keeps what is ignored":       {queue, "ignored", mailbox.Leave, ""},
		"but with delete_ignored":             {deletesIgnored, "ignored", mailbox.Delete, ""},
		"a user's mail that is ignored stays": {user, "ignored", mailbox.Leave, ""},
		"a forward mailbox's goes":            {forward, "ignored", mailbox.Delete, ""},
		"quarantined is moved":                {queue, "quarantined", mailbox.Move, "Lost"},
		"not on POP3":                         {onPOP3, "quarantined", mailbox.Leave, ""},
		"not without a folder":                {noFolder, "quarantined", mailbox.Leave, ""},
		"an unknown outcome is left alone":    {queue, "", mailbox.Leave, ""},
	} {
		if got, target := c.m.DispositionOf(c.outcome); got != c.want || target != c.target {
			t.Errorf("%s: got %q %q, want %q %q", name, got, target, c.want, c.target)
		}
	}
}

func TestStart(t *testing.T) {
	enabled := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	date := enabled.AddDate(-1, 0, 0)
	for kind, want := range map[mailbox.StartKind]time.Time{
		mailbox.StartNow: enabled, mailbox.StartDate: date, mailbox.StartAll: {},
	} {
		m := mailbox.Mailbox{StartKind: kind, StartAt: date, EnabledAt: enabled}
		if got := m.Start(); !got.Equal(want) {
			t.Errorf("%s: got %v, want %v", kind, got, want)
		}
	}
}
