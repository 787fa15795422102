package pop3

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// stuff is octets as a server sends them: RFC 1939 §3.
func stuff(octets string) string {
	octets = strings.ReplaceAll("\r\n"+octets, "\r\n.", "\r\n..")[2:]
	if octets != "" && !strings.HasSuffix(octets, "\r\n") {
		octets += "\r\n"
	}
	return octets + ".\r\n"
}

// plainBody is body without streaming, for comparison.
func plainBody(stream string) (message, rest string, ok bool) {
	message, rest, ok = strings.Cut("\r\n"+stream, "\r\n.\r\n")
	if !ok {
		return "", "", false
	}
	message = strings.ReplaceAll(message, "\r\n.", "\r\n")
	if message == "" {
		return "", rest, true
	}
	return message[2:] + "\r\n", rest, true
}

func TestBody(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ stream, want, rest string }{
		"empty message":                     {".\r\n+OK\r\n", "", "+OK\r\n"},
		"one line":                          {"a\r\n.\r\n", "a\r\n", ""},
		"blank line":                        {"\r\n.\r\n", "\r\n", ""},
		"stuffed dots":                      {"..\r\n..a\r\n...\r\n.\r\n", ".\r\n.a\r\n..\r\n", ""},
		"a dot that was not stuffed":        {".a\r\n.\r\n", "a\r\n", ""},
		"dot within a line":                 {"a.\r\nb.c\r\n.\r\n", "a.\r\nb.c\r\n", ""},
		"bare LF is kept":                   {"a\nb\r\n.\r\n", "a\nb\r\n", ""},
		"LF dot LF ends nothing":            {"a\n.\n-ERR x\r\n.\r\n", "a\n.\n-ERR x\r\n", ""},
		"LF dot CRLF ends nothing":          {"a\n.\r\n+OK\r\n.\r\n", "a\n.\r\n+OK\r\n", ""},
		"CRLF dot LF ends nothing":          {"a\r\n.\nb\r\n.\r\n", "a\r\n\nb\r\n", ""},
		"CR dot CR ends nothing":            {"a\r.\r\r\n.\r\n", "a\r.\r\r\n", ""},
		"lone CR is kept":                   {"a\rb\r\n.\r\n", "a\rb\r\n", ""},
		"CR before CRLF":                    {"a\r\r\n.\r\n", "a\r\r\n", ""},
		"dot CR CR LF ends nothing":         {".\r\r\n.\r\n", "\r\r\n", ""},
		"LF first, then a dot":              {"\n.\r\n.\r\n", "\n.\r\n", ""},
		"what follows is left alone":        {"a\r\n.\r\nb\r\n.\r\n", "a\r\n", "b\r\n.\r\n"},
		"NUL and octets over 127":           {"\x00\xff\xfe\r\n.\r\n", "\x00\xff\xfe\r\n", ""},
		"line end over the buffer's end":    {strings.Repeat("x", readBuffer-1) + "\r\n.\r\n", strings.Repeat("x", readBuffer-1) + "\r\n", ""},
		"LF over the buffer's end":          {strings.Repeat("x", readBuffer) + "\n.\r\n\r\n.\r\n", strings.Repeat("x", readBuffer) + "\n.\r\n\r\n", ""},
		"dot at the start of a second load": {strings.Repeat("x", readBuffer) + ".\r\n.\r\n", strings.Repeat("x", readBuffer) + ".\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, r := range map[string]io.Reader{
				"at once":        strings.NewReader(tc.stream),
				"octet by octet": iotest.OneByteReader(strings.NewReader(tc.stream)),
				"with its end":   iotest.DataErrReader(strings.NewReader(tc.stream)),
			} {
				w := newWire(r)
				var got bytes.Buffer
				n, err := w.body(&got, math.MaxInt64, 0)
				if err != nil || got.String() != tc.want || n != int64(len(tc.want)) {
					t.Errorf("body, %s: got %.60q, %d, %v; want %.60q", how, got.String(), n, err, tc.want)
				}
				if rest, _ := io.ReadAll(w.r); string(rest) != tc.rest {
					t.Errorf("body, %s: left %.60q; want %.60q", how, rest, tc.rest)
				}
			}
		})
	}
}

func TestBodyCutAnywhere(t *testing.T) {
	t.Parallel()
	const stream = "a\r\n..b\r\nc\nd\r\n.\r\n"
	for n := range len(stream) {
		_, err := newWire(strings.NewReader(stream[:n])).body(io.Discard, math.MaxInt64, 0)
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("body of %q: got error %v; want %v", stream[:n], err, io.ErrUnexpectedEOF)
		}
	}
}

func TestBodyLimits(t *testing.T) {
	t.Parallel()
	stream := strings.Repeat("0123456789", 10) + "\r\n.\r\n+OK next\r\n" // 102 octets
	for name, tc := range map[string]struct {
		limit, drain int64
		kept         int
		err          error
	}{
		"just fits":              {102, 0, 102, nil},
		"over, end found":        {10, 92, 10, nil},
		"over, end out of reach": {10, 91, 10, errRunaway},
		"nothing kept":           {0, 1000, 0, nil},
	} {
		w := newWire(strings.NewReader(stream))
		var got bytes.Buffer
		n, err := w.body(&got, tc.limit, tc.drain)
		if !errors.Is(err, tc.err) || n != 102 || got.Len() != tc.kept {
			t.Errorf("%s: got %d octets, %d kept, %v; want 102, %d, %v", name, n, got.Len(), err, tc.kept, tc.err)
		}
		if tc.err == nil {
			if r, err := w.status(); err != nil || !r.ok {
				t.Errorf("%s: next reply: got %+v, %v; want +OK", name, r, err)
			}
		}
	}
}

type brokenWriter struct{ err error }

func (b brokenWriter) Write([]byte) (int, error) { return 0, b.err }

func TestBodyWriterFails(t *testing.T) {
	t.Parallel()
	want := errors.New("disk full")
	if _, err := newWire(strings.NewReader("a\r\n.\r\n")).body(brokenWriter{want}, 10, 0); !errors.Is(err, want) {
		t.Errorf("body: got %v; want the writer's error", err)
	}
}

func TestLine(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		stream string
		want   []string // "over" for a line that is too long
	}{
		"lines":                      {"1 a\r\n\r\n2 b\r\n", []string{"1 a", "", "2 b"}},
		"bare LF is part of a line":  {"1 a\n2 b\r\n3 c\r\n", []string{"1 a\n2 b", "3 c"}},
		"lone CR is part of a line":  {"1 a\r2 b\r\n", []string{"1 a\r2 b"}},
		"CR CR LF":                   {"1 a\r\r\n", []string{"1 a\r"}},
		"as long as is allowed":      {"0123456789\r\nx\r\n", []string{"0123456789", "x"}},
		"one too long":               {"0123456789x\r\nx\r\n", []string{"over", "x"}},
		"one with LF too long":       {"01234567\n\n\n\r\nx\r\n", []string{"over", "x"}},
		"one far too long":           {strings.Repeat("y", 3*readBuffer) + "\r\nx\r\n", []string{"over", "x"}},
		"one ends over buffer's end": {strings.Repeat("y", readBuffer-1) + "\r\nx\r\n", []string{"over", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWire(strings.NewReader(tc.stream))
			for i, want := range tc.want {
				line, over, err := w.line(10)
				got := string(line)
				if over {
					got = "over"
				}
				if err != nil || got != want {
					t.Fatalf("line %d: got %.40q, %v; want %.40q", i, got, err, want)
				}
			}
			if _, _, err := w.line(10); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("after the last line: got %v; want %v", err, io.ErrUnexpectedEOF)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for stream, want := range map[string]reply{
		"+OK\r\n":                      {ok: true},
		"+OK 2 320\r\n":                {ok: true},
		"-ERR\r\n":                     {},
		"-ERR no such message\r\n":     {text: "no such message"},
		"-ERR [IN-USE] locked\r\n":     {code: "IN-USE", text: "[IN-USE] locked"},
		"-ERR [sys/temp] x\r\n":        {code: "SYS/TEMP", text: "[sys/temp] x"},
		"-ERR [half a code\r\n":        {text: "[half a code"},
		"-ERR a [AUTH] in between\r\n": {text: "a [AUTH] in between"},
		"+ \r\n":                       {challenge: true},
		"+\r\n":                        {challenge: true},
	} {
		got, err := newWire(strings.NewReader(stream)).status()
		if err != nil || got != want {
			t.Errorf("status of %q: got %+v, %v; want %+v", stream, got, err, want)
		}
	}
	for _, stream := range []string{
		"\r\n", "+OKfoo\r\n", "+ok\r\n", "OK\r\n", " +OK\r\n", "+OK\n", "* OK IMAP4rev1\r\n", "220 smtp\r\n",
		"+OK " + strings.Repeat("x", maxStatusLine) + "\r\n",
	} {
		if got, err := newWire(strings.NewReader(stream)).status(); err == nil {
			t.Errorf("status of %.40q: got %+v; want an error", stream, got)
		}
	}
}

// TestStatusWithoutEnd makes sure that an endless line is given up, not read.
func TestStatusWithoutEnd(t *testing.T) {
	t.Parallel()
	endless := &countingReader{}
	if _, err := newWire(endless).status(); err == nil {
		t.Fatal("status of an endless line: got no error")
	}
	if endless.n > 2*readBuffer {
		t.Errorf("status read %d octets of an endless line; want at most %d", endless.n, 2*readBuffer)
	}
}

type countingReader struct{ n int }

func (c *countingReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	c.n += len(p)
	return len(p), nil
}

// TestBodyRoundTrip: whatever octets are stuffed and sent come back the same.
func TestBodyRoundTrip(t *testing.T) {
	t.Parallel()
	piece := rapid.SampledFrom([]string{".", "\r\n", "\n", "\r", "a", "..", "\r\n.", "\x00", "+OK\r\n", ".\r\n", "-ERR "})
	rapid.Check(t, func(t *rapid.T) {
		octets := strings.Join(rapid.SliceOf(piece).Draw(t, "octets"), "")
		if pad := rapid.IntRange(-4, 4).Draw(t, "pad"); rapid.Bool().Draw(t, "long") {
			octets = strings.Repeat("x", readBuffer+pad) + octets
		}
		want := octets
		if want != "" && !strings.HasSuffix(want, "\r\n") {
			want += "\r\n"
		}
		w := newWire(strings.NewReader(stuff(octets) + "+OK next\r\n"))
		var got bytes.Buffer
		if _, err := w.body(&got, math.MaxInt64, 0); err != nil || got.String() != want {
			t.Fatalf("body: got %q, %v; want %q", got.String(), err, want)
		}
		if r, err := w.status(); err != nil || !r.ok {
			t.Fatalf("the reply after it: got %+v, %v; want +OK", r, err)
		}
	})
}

func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		"", ".\r\n", "a\r\n.\r\n", "a\n.\n+OK\r\n.\r\n", "..\r\n.\r\n", ".a\r\n..\r\n.\r\n", "\r\r\n.\r\r\n.\r\n", "a\r\n.\nb\r\n.\r\nrest",
		"a\r\n.", "\n.\r\n", "\r\n.\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		want, rest, ok := plainBody(string(stream))
		w := newWire(iotest.HalfReader(bytes.NewReader(stream)))
		var got bytes.Buffer
		n, err := w.body(&got, math.MaxInt64, 0)
		if !ok {
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("body of %q without an end: got %v; want %v", stream, err, io.ErrUnexpectedEOF)
			}
			return
		}
		if err != nil || got.String() != want || n != int64(len(want)) {
			t.Fatalf("body of %q: got %q, %d, %v; want %q", stream, got.String(), n, err, want)
		}
		if left, _ := io.ReadAll(w.r); string(left) != rest {
			t.Fatalf("body of %q: left %q; want %q", stream, left, rest)
		}
	})
}

// FuzzListing makes sure that nothing a server lists is taken for complete, or for an identity, that is not.
func FuzzListing(f *testing.F) {
	f.Add(2, []byte("1 a\r\n2 b\r\n.\r\n"), []byte("1 10\r\n2 20\r\n.\r\n"))
	f.Add(2, []byte("2 b\r\n1 a\r\n.\r\n"), []byte("1 10\r\n2 20 more\r\n.\r\n"))
	f.Add(3, []byte("1 a\r\n2\r\n3 c\r\n.\r\n"), []byte("1 10\r\n2 20\r\n3 30\r\n.\r\n"))
	f.Add(1, []byte("1 a\n2 b\r\n.\r\n"), []byte("1 10\r\n.\r\n"))
	f.Add(2, []byte("1 a\r\n1 b\r\n.\r\n"), []byte("1 10\r\n1 20\r\n.\r\n"))
	f.Add(1, []byte("1 a b\r\n.\r\n"), []byte("1 9999999999999999999\r\n.\r\n"))
	f.Fuzz(func(t *testing.T, messages int, uidl, list []byte) {
		if messages < 0 || messages > maxMessages {
			return
		}
		l := lister{messages: messages, clean: true, sorted: true}
		if newWire(bytes.NewReader(uidl)).lines(messages+spareLines, l.uniqueID) != nil {
			return
		}
		l.sort()
		if newWire(bytes.NewReader(list)).lines(messages+spareLines, l.size) != nil {
			return
		}
		entries, complete := l.finish()
		if complete && len(entries) != messages {
			t.Errorf("complete with %d of %d messages", len(entries), messages)
		}
		for i, e := range entries {
			if e.octets < 0 || e.uniqueID == "" || len(e.uniqueID) > maxUniqueID || e.number < 1 {
				t.Errorf("entry %d is %+v", i, e)
			}
			if i > 0 && entries[i-1].number >= e.number {
				t.Errorf("entry %d has number %d after %d", i, e.number, entries[i-1].number)
			}
		}
	})
}
