package store

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
)

// What a column takes at most, in octets or entries. The octets themselves are kept whole; these bound what a sender
// can make every reader of the tables carry.
const (
	maxBody        = 8 << 20
	maxSubject     = 8 << 10
	maxName        = 1 << 10
	maxAddress     = 1 << 10
	maxMessageID   = 4 << 10
	maxShort       = 256
	maxIDs         = 200
	maxDefects     = 100
	maxParties     = 5000
	maxAttachments = 5000
)

// clean makes s fit a text column: valid UTF-8, no NUL, at most limit octets.
func clean(s string, limit int) string {
	s = strings.ToValidUTF8(cutText(s, limit), "\uFFFD")
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return cutText(s, limit) // mending makes it longer
}

// cutText returns the first limit octets of s at most, and no rune in halves.
func cutText(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	cut := limit
	for cut > max(0, limit-utf8.UTFMax) && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}

// cleanList is clean for each of at most entries entries.
func cleanList(list []string, entries, limit int) []string {
	out := make([]string, 0, min(len(list), entries))
	for _, s := range list[:min(len(list), entries)] {
		out = append(out, clean(s, limit))
	}
	return out
}

func textOrNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// timeOrNull returns nil for the zero time and for what no mail was sent at: years that timestamptz or a reader of it
// cannot show.
func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
		return nil
	}
	return &t
}

// distinct returns the ids in order, each once.
func distinct(ids []int64) []int64 {
	out := slices.Clone(ids)
	slices.Sort(out)
	return slices.Compact(out)
}

// expectRows returns a check of how many rows a statement met.
func expectRows(what string, want int) func(pgconn.CommandTag) error {
	return func(tag pgconn.CommandTag) error {
		if got := tag.RowsAffected(); got != int64(want) {
			return fmt.Errorf("%s: %d rows were written, %d expected", what, got, want)
		}
		return nil
	}
}
