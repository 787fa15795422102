package apply

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/postroom/postroom/internal/mailbox"
	"github.com/postroom/postroom/internal/store"
)

// pair is a key of a record with its value as a file would have it.
type pair struct{ key, value string }

func profilePairs(p *mailbox.Profile) []pair {
	if p == nil {
		return nil
	}
	return []pair{
		{"protocol", string(p.Protocol)},
		{"host", p.Host},
		{"port", strconv.Itoa(p.Port)},
		{"tls", string(p.TLS)},
		{"ca_file", p.CAFile},
		{"max_connections", strconv.Itoa(p.MaxConnections)},
		{"timeout", short(p.Timeout)},
		{"poll_timeout", short(p.PollTimeout)},
		{"max_octets", sizeText(p.MaxOctets)},
		{"authserv_id", p.AuthservID},
		{"mx_hosts", strings.Join(p.MXHosts, ", ")},
		{"exchange", yes(p.Exchange)},
	}
}

func userPairs(u *store.User) []pair {
	if u == nil {
		return nil
	}
	return []pair{{"address", u.Address}}
}

func queuePairs(q *store.Queue, owner string) []pair {
	if q == nil {
		return nil
	}
	return []pair{{"address", q.Address}, {"owner", owner}}
}

func mailboxPairs(m *mailbox.Mailbox) []pair {
	if m == nil {
		return nil
	}
	profile := ""
	if m.Profile != nil {
		profile = m.Profile.Name
	}
	return []pair{
		{"name", m.Name},
		{"kind", string(m.Kind)},
		{"address", m.Address},
		{"aliases", strings.Join(m.Aliases, ", ")},
		{"incoming", string(m.Incoming)},
		{"profile", profile},
		{"username", m.Username},
		{"password", m.SecretRef},
		{"folders", list(m.Folders)},
		{"start", startText(m)},
		{"poll_interval", short(m.PollInterval)},
		{"priority", strconv.Itoa(m.Priority)},
		{"disposition", string(m.Disposition)},
		{"delete_after", short(m.DeleteAfter)},
		{"move_to", m.MoveTo},
		{"undeliverable_folder", m.Undeliverable},
		{"delete_ignored", yes(m.DeleteIgnored)},
		{"trust", string(m.Trust)},
		{"token_suffices", yes(m.TokenSuffices)},
		{"plus_token", tokenText(m.PlusTokenDigest)},
		{"accept", string(m.Accept)},
		{"enabled", yes(m.Enabled)},
	}
}

func yes(b bool) string {
	if b {
		return "true"
	}
	return "false"
}

// list quotes its entries where they hold a comma.
func list(all []string) string {
	out := make([]string, len(all))
	for i, s := range all {
		if out[i] = s; strings.ContainsAny(s, `,"`) {
			out[i] = strconv.Quote(s)
		}
	}
	return strings.Join(out, ", ")
}

func startText(m *mailbox.Mailbox) string {
	if m.StartKind == mailbox.StartDate {
		return dateText(m.StartAt)
	}
	return string(m.StartKind)
}

// tokenText shows that there is a token, and whether it is another one.
func tokenText(digest []byte) string {
	if len(digest) == 0 {
		return ""
	}
	return fmt.Sprintf("set (sha256 %x…)", digest[:4])
}

// created returns what is worth showing of a new record: what differs from a record with defaults.
func created(now, defaults []pair) []Field {
	var fields []Field
	for i, p := range now {
		if p.value != defaults[i].value {
			fields = append(fields, Field{Key: p.key, New: p.value})
		}
	}
	return fields
}

// changed returns what differs.
func changed(before, now []pair) []Field {
	var fields []Field
	for i, p := range now {
		if p.value != before[i].value {
			fields = append(fields, Field{Key: p.key, Old: before[i].value, New: p.value})
		}
	}
	return fields
}
