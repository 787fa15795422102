package apply

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

type unit struct {
	name   string
	octets int64
}

// units of sizes, the longest names first.
func units() []unit {
	return []unit{
		{"GiB", 1 << 30},
		{"MiB", 1 << 20},
		{"KiB", 1 << 10},
		{"B", 1},
	}
}

var errSize = errors.New("not a size")

// parseSize reads a whole number of octets with its unit: 25MiB, 512KiB, 100B. KB, MB and GB are refused: they mean
// different things to different people.
func parseSize(s string) (int64, error) {
	for _, u := range units() {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.octets {
			return 0, errSize
		}
		return n * u.octets, nil
	}
	return 0, errSize
}

// sizeText is what parseSize reads, in the largest binary unit that fits.
func sizeText(n int64) string {
	for _, u := range units()[:3] {
		if n >= u.octets && n%u.octets == 0 {
			return strconv.FormatInt(n/u.octets, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// short is d without units that are zero: 5m, not 5m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parseDate reads a day, which begins at midnight UTC, or an RFC 3339 instant.
func parseDate(s string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err
}

// dateText is what parseDate reads.
func dateText(t time.Time) string {
	if t = t.UTC(); t.Equal(t.Truncate(24 * time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return t.Format(time.RFC3339)
}
