package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Octets is a size, written with its unit: B, KiB, MiB, GiB or TiB.
type Octets int64

type unit struct {
	name   string
	octets int64
}

// units returns the units, largest first.
func units() []unit {
	return []unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// ParseOctets reads a size such as "25MiB". A number without a unit is refused, and so are the units KB, MB and GB, which
// mean different things to different people.
func ParseOctets(s string) (Octets, error) {
	digits := strings.TrimRight(s, "BKMGTibkmgt ")
	name := strings.TrimSpace(s[len(digits):])
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a size: write a whole number and a unit, such as 25MiB", s)
	}
	if name == "" {
		return 0, fmt.Errorf("%q has no unit: write %sMiB, or B, KiB, GiB", s, digits)
	}
	for _, u := range units() {
		if u.name != name {
			continue
		}
		if n > math.MaxInt64/u.octets {
			return 0, fmt.Errorf("%q is too large", s)
		}
		return Octets(n * u.octets), nil
	}
	return 0, fmt.Errorf("%q has an unknown unit: write B, KiB, MiB, GiB or TiB", s)
}

// String returns the size in its largest whole unit; ParseOctets reads it.
func (o Octets) String() string {
	for _, u := range units() {
		if o != 0 && int64(o)%u.octets == 0 {
			return strconv.FormatInt(int64(o)/u.octets, 10) + u.name
		}
	}
	return "0B"
}
