package eml

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// slow is more processor time than anything here may take, also under the race detector. Without it, it is a small part
// of a second; what is quadratic takes minutes.
const slow = 10 * time.Second

// processorTime returns what this process has used so far: unlike the clock, it is the same on a busy machine.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano())
}

// bombs are messages made to hurt: each of some megabytes, of which a reader that is not linear makes hours.
func bombs() map[string][]byte {
	const many = 100_000
	var levels, closed bytes.Buffer
	for i := range many {
		fmt.Fprintf(&levels, "Content-Type: multipart/mixed; boundary=B%d\n\n--B%d\n", i, i)
	}
	closed.Write(levels.Bytes())
	for i := many - 1; i >= 0; i-- {
		fmt.Fprintf(&closed, "\n--B%d--\n", i)
	}
	mixed := "Content-Type: multipart/mixed; boundary=B\n\n"
	repeat := func(s string, octets int) string { return strings.Repeat(s, octets/len(s)) }
	return map[string][]byte{
		"levels":                  levels.Bytes(),
		"levels, closed":          closed.Bytes(),
		"levels of one boundary":  []byte(repeat("Content-Type: multipart/mixed; boundary=B\n\n--B\n", 2<<20)),
		"levels without boundary": []byte(repeat("Content-Type: multipart/mixed\n\n--X\n\n--X\n", 2<<20)),
		"levels to be guessed":    []byte(repeat("Content-Type: multipart/mixed; boundary=none\n\n--X\n\n--X\n--Y\n\n--Y\n", 2<<20)),
		"parts":                   []byte(mixed + strings.Repeat("--B\n\nx\n", many)),
		"parts, no header":        []byte(mixed + strings.Repeat("--B\n", 10*many)),
		"almost boundaries":       []byte(mixed + repeat("--Bx\n", 2<<20)),
		"dashes":                  []byte(mixed + repeat("-", 2<<20)),
		"dash lines":              []byte(mixed + repeat("--\n", 2<<20)),
		"messages":                []byte(mixed + repeat("--B\nContent-Type: message/rfc822\n\na: b\n\n", 2<<20)),
		"fields":                  []byte(repeat("a:b\n", 2<<20)),
		"fields in parts":         []byte(mixed + repeat("--B\n"+strings.Repeat("a:\n", 5000)+"\n", 6<<20)),
		"fold":                    []byte("Subject: x\n" + repeat(" x\n", 2<<20)),
		"blank folds":             []byte("Subject: x\n" + repeat(" \n", 2<<20) + "To: x\n"),
		"junk lines":              []byte("Subject: x\n" + repeat("x\nA-b: c\n", 2<<20)),
		"mbox lines":              []byte(repeat("From x\n", 2<<20)),
		"one field":               []byte("Subject: " + repeat("x", 61<<20)),
		"one line":                []byte(repeat("x", 61<<20)),
		"header":                  []byte(repeat("X-Long: "+strings.Repeat("y", 1000)+"\n", 61<<20) + "\nbody"),
		"carriage returns":        []byte("Subject: x\r" + repeat("\r", 2<<20)),
		"quoted-printable":        []byte("Content-Transfer-Encoding: quoted-printable\n\n" + repeat("= ", 2<<20)),
		"blanks":                  []byte("Content-Transfer-Encoding: quoted-printable\n\n" + repeat(" ", 2<<20) + "x"),
		"base64 pieces":           []byte("Content-Transfer-Encoding: base64\n\n" + repeat("QQ==\n", 2<<20)),
		"flowed":                  []byte("Content-Type: text/plain; format=flowed\n\n" + repeat("> \n", 1<<20)),
		"html":                    []byte("Content-Type: text/html\n\n" + repeat("<a<", 1<<20)),
		"html attributes":         []byte("Content-Type: text/html\n\n<a " + repeat("b c=d ", 1<<20)),
		"html entities":           []byte("Content-Type: text/html\n\n" + repeat("&", 1<<20)),
		"html references":         []byte("Content-Type: text/html\n\n" + repeat("cid:a ", 1<<20)),
	}
}

// values are header values made to hurt.
func values() map[string]string {
	const octets = 1 << 18
	list := map[string]string{}
	for _, s := range []string{
		"=?u?q?", "=?u?q?a?= ", "=?utf-8?b?w", "=?u?b?a?=", "=?", "?=", "<", ">", "<a,", "<a", "a<", "(", ")", "((", "\"", "\\\"", "\"a", ",", ";", ":",
		"a:", "a@b,", "a@b ", "@", " @ ", ".", " . ", "a@ ", "<a@b> ", "[", "name=", "name=\"", "a=\"b\" ", "a*0=b;", "a*=%", "\"b\" ", ";=", "; ", "\t", "-",
		"=?u?q?x <", "\xFF", "\x1b$B", "a@b\x00,",
	} {
		list[s] = strings.Repeat(s, octets/len(s))
		list[s+"…?=>)\""] = list[s] + "?=>)\""
	}
	return list
}

// TestBombs checks that no message takes long, or much memory. It runs alone, for it looks at what the process uses.
func TestBombs(t *testing.T) {
	for name, octets := range bombs() {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := processorTime(t)
		m := Read(octets, Limits{})
		checkSpans(t, name, m)
		m.View()
		took := processorTime(t) - start
		runtime.ReadMemStats(&after)
		if took > slow {
			t.Errorf("%s: %d octets took %s", name, len(octets), took)
		}
		// What was allocated in all, of which little lives at once.
		if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 200<<20 {
			t.Errorf("%s: %d octets took %d MB of memory", name, len(octets), allocated>>20)
		}
	}
}

// TestBombValues does so for header values.
func TestBombValues(t *testing.T) {
	for name, value := range values() {
		start := processorTime(t)
		for _, f := range []func(){
			func() { decodeText(value, "") },
			func() { ParseAddresses(value) },
			func() { parseParams("text/plain; " + value) },
			func() { parseParams(value) },
			func() { MessageIDs(value) },
			func() { messageID(value) },
			func() { ParseDate(value) },
			func() { unfold([]byte(value)) },
		} {
			f()
		}
		if took := processorTime(t) - start; took > slow {
			t.Errorf("%q again and again: took %s", name, took)
		}
	}
}

func TestLimitsOpaque(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("Content-Type: multipart/mixed; boundary=B%\n\n--B%\n", 5)
	for i := range 5 {
		deep = strings.Replace(deep, "%", fmt.Sprint(i), 2)
	}
	m := Read([]byte(deep+"\nx"), Limits{Depth: 3})
	if got, want := shape(m), "multipart/mixed(multipart/mixed(multipart/mixed(multipart/mixed["; !strings.HasPrefix(got, want) || !m.Has(DefectDepthLimit) {
		t.Errorf("depth: got %q, defects %q", got, codes(m))
	}
	m = Read([]byte("Content-Type: multipart/mixed; boundary=B\n\n"+strings.Repeat("--B\n\nx\n", 10)+"--B--\n"), Limits{Parts: 4})
	want := "multipart/mixed(text/plain[x] text/plain[x] application/octet-stream[\nx\n" + strings.Repeat("--B\n\nx\n", 7) + "--B--\n])"
	if got := shape(m); got != want || !m.Has(DefectPartsLimit) {
		t.Errorf("parts:\n got %q, defects %q\nwant %q", got, codes(m), want)
	}
}
