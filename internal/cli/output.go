package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
	"golang.org/x/text/width"
)

// tableColumns is how wide a table is at most on a terminal that does not say how wide it is.
const tableColumns = 100

// isJSON reports whether objects are asked for.
func (a *app) isJSON() bool { return a.output == "json" }

// printJSON writes v as one object or array on a line of its own. A list is never null.
func (a *app) printJSON(v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return a.print(b.String())
}

func (a *app) print(text string) error {
	if _, err := a.streams.Out.Write([]byte(text)); err != nil {
		return fmt.Errorf("write the output: %w", err)
	}
	return nil
}

// rowsOf returns an empty list for nil, so that JSON shows [].
func rowsOf[T any](rows []T) []T {
	if rows == nil {
		return []T{}
	}
	return rows
}

// clean makes text from a message or a server fit for one line of a terminal: no control characters, no characters that
// turn the direction of writing, no line ends.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n', r == '\r', r == '\u2028', r == '\u2029':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == utf8.RuneError:
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// table is rows under a header, made as narrow as its cells.
type table struct {
	header []string
	rows   [][]string
	flex   int  // column that is cut first when it does not fit
	ids    bool // the first column holds ids and is never cut
}

// columns returns how wide a table may be: as the terminal is, 0 (as wide as it has to be) where the output is none.
func (a *app) columns() int {
	if !isTerminal(a.streams.Out) {
		return 0
	}
	if f, ok := a.streams.Out.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			return int(size.Col)
		}
	}
	return tableColumns
}

func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = clean(cells[i])
	}
	t.rows = append(t.rows, cells)
}

// text returns the table, cut to limit columns; 0: nothing is cut. A narrow terminal wraps what cannot be cut further.
func (t *table) text(limit int) string {
	const gap = "  "
	widths := make([]int, len(t.header))
	total := len(gap) * (len(t.header) - 1)
	for i := range widths {
		for _, row := range append([][]string{t.header}, t.rows...) {
			widths[i] = max(widths[i], columns(row[i]))
		}
		total += widths[i]
	}
	const least = 12
	for _, i := range append([]int{t.flex}, widest(widths)...) {
		if limit > 0 && total > limit && widths[i] > least && (i > 0 || !t.ids) {
			narrow := max(least, widths[i]-(total-limit))
			total -= widths[i] - narrow
			widths[i] = narrow
		}
	}
	var b strings.Builder
	for _, row := range append([][]string{t.header}, t.rows...) {
		var line strings.Builder
		for i, cell := range row {
			cell = shorten(cell, widths[i])
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-columns(cell)) + gap)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// widest returns the columns by their width, the widest first.
func widest(widths []int) []int {
	order := make([]int, len(widths))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return widths[b] - widths[a] })
	return order
}

// columns returns how many columns of a terminal s takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeColumns(r)
	}
	return n
}

func runeColumns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	default:
		return 1
	}
}

// shorten cuts s to at most limit columns, with "…" where it was cut.
func shorten(s string, limit int) string {
	if columns(s) <= limit {
		return s
	}
	n := 0
	for i, r := range s {
		if n += runeColumns(r); n > limit-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// fields prints names and values in two columns. Values are cleaned; empty ones are left out.
type fields struct{ b strings.Builder }

func (f *fields) add(name, format string, args ...any) {
	value := clean(fmt.Sprintf(format, args...))
	if value != "" {
		fmt.Fprintf(&f.b, "%-14s %s\n", name, value)
	}
}

func (f *fields) line(format string, args ...any) {
	f.b.WriteString(strings.TrimRight(clean(fmt.Sprintf(format, args...)), " ") + "\n")
}

// at shows an instant in this machine's zone, "" for none.
func at(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// minute is at without seconds.
func minute(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// count shows how many there are: 1 failure, 2 failures.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// ago shows a duration in its two largest units.
func ago(d time.Duration) string {
	d = d.Round(time.Second)
	const day = 24 * time.Hour
	switch {
	case d >= day:
		return fmt.Sprintf("%dd %dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm %ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return strconv.Itoa(int(d/time.Second)) + "s"
}

// value returns what p points to, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// octets shows a size.
func octets(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d B", n)
}

// since reads an instant of --since: a duration back from now (90m, 24h, 7d), a date, or RFC 3339; "" is zero.
// What lies before 1970 is 1970: no mail is older.
func since(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := instant(s, now)
	if epoch := time.Unix(0, 0); err == nil && t.Before(epoch) {
		t = epoch.In(now.Location())
	}
	return t, err
}

func instant(s string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, now.Location()); err == nil {
		return t, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	return time.Time{}, misused("--since is a time back (24h, 7d), a date (2026-11-01) or RFC 3339, not %q", s)
}
