package eml

import (
	"strings"
	"time"
)

// ParseDate reads a date-time (RFC 5322 section 3.3 and 4.3) leniently: comments, zone names, two-digit years, missing
// weekday, seconds or zone, the order of asctime(3), month before day, and ISO 8601. The time keeps the sender's zone;
// without one, or with one that is not known, it is UTC. It reports false if there is no date in value.
func ParseDate(value string) (time.Time, bool) {
	d, ok := parseDate(value)
	return d.time, ok
}

// date is what parseDate finds.
type date struct {
	time        time.Time
	unknownZone bool // there is a zone, but which is not known
}

// dateScan collects the pieces of a date.
type dateScan struct {
	year, month, day  int // 0: not yet seen
	yearDigits        int
	hour, minute, sec int // hour -1: not yet seen
	zone              int // seconds east of UTC
	hasZone           bool
	unknown           bool
	pm, am            bool
	monthFirst        bool // the month stood before the day
}

// maxDate is the longest value that is looked at.
const maxDate = 500

func parseDate(value string) (date, bool) {
	if len(value) > maxDate {
		value = value[:maxDate]
	}
	s := &dateScan{hour: -1}
	if i := strings.IndexByte(value, '('); i >= 0 {
		value = withoutComments(value)
	}
	value = strings.NewReplacer(",", " ", ";", " ", "\"", " ").Replace(value)
	if strings.Contains(value, " :") || strings.Contains(value, ": ") { // "09 : 55 : 06"
		value = strings.Join(strings.Fields(value), " ")
		value = strings.NewReplacer(" : ", ":", " :", ":", ": ", ":").Replace(value)
	}
	for word := range strings.FieldsSeq(value) {
		s.word(word)
	}
	return s.date()
}

// word takes one word of the date.
func (s *dateScan) word(w string) {
	switch {
	case len(w) >= 10 && w[4] == '-' && w[7] == '-' && isDigits(w[:4]):
		s.iso(w)
	case strings.IndexByte(w, ':') > 0 && w[0] >= '0' && w[0] <= '9' && s.hour < 0:
		s.clock(w)
	case (w[0] == '+' || w[0] == '-') && len(w) > 1 && w[1] >= '0' && w[1] <= '9':
		s.offset(w)
	case isDigits(w):
		s.number(w)
	case strings.IndexByte(w, '-') > 0 && w[0] >= '0' && w[0] <= '9':
		for part := range strings.SplitSeq(w, "-") { // "2-Jan-2006"
			if part != "" {
				s.word(part)
			}
		}
	default:
		s.name(w)
	}
}

// number takes a day or a year.
func (s *dateScan) number(w string) {
	n := atoi(w)
	switch {
	case s.day == 0 && len(w) <= 2 && n >= 1 && n <= 31:
		s.day = n
	case s.year == 0 && s.yearDigits == 0 && len(w) >= 2 && len(w) <= 4:
		s.year, s.yearDigits = n, len(w)
	}
}

// iso takes "2006-01-02", perhaps with "T15:04:05Z".
func (s *dateScan) iso(w string) {
	if !isDigits(w[5:7]) || !isDigits(w[8:10]) {
		return
	}
	s.year, s.yearDigits = atoi(w[:4]), 4
	s.month, s.day = atoi(w[5:7]), atoi(w[8:10])
	if len(w) > 11 && (w[10] == 'T' || w[10] == 't' || w[10] == '_') {
		s.clock(w[11:])
	}
}

// clock takes "15:04", "15:04:05", "15:04:05.999", and a zone or "PM" that sticks to it.
func (s *dateScan) clock(w string) {
	end := 0
	for end < len(w) && (w[end] == ':' || w[end] == '.' || (w[end] >= '0' && w[end] <= '9')) {
		end++
	}
	parts := strings.SplitN(w[:end], ":", 4)
	if len(parts) < 2 || !isDigits(parts[0]) || !isDigits(parts[1]) {
		return
	}
	s.hour, s.minute = atoi(parts[0]), atoi(parts[1])
	if len(parts) > 2 {
		whole, _, _ := strings.Cut(parts[2], ".")
		s.sec = atoi(whole)
	}
	switch rest := w[end:]; {
	case rest == "":
	case rest[0] == '+' || rest[0] == '-':
		s.offset(rest)
	default:
		s.name(rest)
	}
}

// offset takes "+0200", "+02:00", "+02", "+200". One that no zone has is not known.
func (s *dateScan) offset(w string) {
	digits := strings.ReplaceAll(w[1:], ":", "")
	if end := strings.IndexFunc(digits, func(c rune) bool { return c < '0' || c > '9' }); end >= 0 {
		digits = digits[:end]
	}
	const farthest = 15 * 60 // minutes
	var minutes int
	switch len(digits) {
	case 1, 2:
		minutes = atoi(digits) * 60
	case 3, 4:
		minutes = atoi(digits[:len(digits)-2])*60 + atoi(digits[len(digits)-2:])
	default:
		minutes = farthest + 1
	}
	s.hasZone = true
	if minutes > farthest {
		s.unknown = true
		return
	}
	s.unknown = false
	s.zone = minutes * 60
	if w[0] == '-' {
		s.zone = -s.zone
	}
}

// name takes the name of a month, a weekday or a zone.
func (s *dateScan) name(w string) {
	w = strings.ToLower(strings.Trim(w, ".'"))
	if w == "" {
		return
	}
	if s.hour >= 0 && (w == "am" || w == "pm") {
		s.am, s.pm = w == "am", w == "pm"
		return
	}
	// "mar., 3 avr." begins with a weekday that looks like a month.
	if month := monthOf(w); month > 0 && (s.month == 0 || (s.monthFirst && s.day > 0)) {
		s.month, s.monthFirst = month, s.day == 0
		return
	}
	if weekday(w) || s.hour < 0 {
		return
	}
	if i := strings.IndexAny(w, "+-"); i > 0 && i+1 < len(w) { // "GMT+0200"
		s.offset(w[i:])
		return
	}
	if s.hasZone {
		return // "+0200 CEST"
	}
	s.hasZone = true
	seconds, known := zoneOf(w)
	s.zone, s.unknown = seconds, !known
}

// date puts the pieces together.
func (s *dateScan) date() (date, bool) {
	if s.day == 0 || s.month == 0 || s.yearDigits == 0 {
		return date{}, false
	}
	year := s.year
	switch { // RFC 5322 section 4.3
	case s.yearDigits == 2 && year < 50:
		year += 2000
	case s.yearDigits <= 3:
		year += 1900
	}
	hour := max(s.hour, 0)
	if s.pm && hour < 12 {
		hour += 12
	} else if s.am && hour == 12 {
		hour = 0
	}
	if year < 1900 || s.month > 12 || hour > 23 || s.minute > 59 || s.sec > 60 {
		return date{}, false
	}
	zone := time.UTC
	if s.zone != 0 {
		zone = time.FixedZone("", s.zone)
	}
	t := time.Date(year, time.Month(s.month), s.day, hour, s.minute, min(s.sec, 59), 0, zone)
	if t.Day() != s.day {
		return date{}, false // the 30th of February
	}
	return date{time: t, unknownZone: s.unknown}, true
}

// monthOf returns the month of an English, German, French, Spanish, Italian or Dutch name, 0 if w is none.
func monthOf(w string) int {
	if len(w) < 3 {
		return 0
	}
	switch w[:3] {
	case "jan", "ene", "gen":
		return 1
	case "feb":
		return 2
	case "mar", "mrz", "mrt":
		return 3
	case "apr", "avr", "abr":
		return 4
	case "may", "mai", "mei", "mag":
		return 5
	case "jun", "giu":
		return 6
	case "jul", "lug":
		return 7
	case "aug", "ago":
		return 8
	case "sep", "set":
		return 9
	case "oct", "okt", "ott":
		return 10
	case "nov":
		return 11
	case "dec", "dez", "dic":
		return 12
	}
	switch { // names that differ only after a letter of two octets
	case strings.HasPrefix(w, "fév"):
		return 2
	case strings.HasPrefix(w, "mär"):
		return 3
	case strings.HasPrefix(w, "aoû"):
		return 8
	case strings.HasPrefix(w, "déc"):
		return 12
	}
	return 0
}

// weekday reports whether w is an English weekday. The others stand before the time and need no knowledge.
func weekday(w string) bool {
	if len(w) < 3 {
		return false
	}
	switch w[:3] {
	case "mon", "tue", "wed", "thu", "fri", "sat", "sun":
		return true
	}
	return false
}

// isDigits reports whether s is of digits alone, at least one.
func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// atoi returns the number that the digits of s are; a large one if there are too many of them.
func atoi(s string) int {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return n
		}
		if n = n*10 + int(s[i]-'0'); n > 1_000_000 {
			return n
		}
	}
	return n
}
