package eml

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// decodeAll decodes at three paces, which must not differ.
func decodeAll(t *testing.T, encoded, encoding string) (decoded, defect string) {
	t.Helper()
	d := newDecoder([]byte(encoded), encoding)
	out, err := io.ReadAll(d)
	if err != nil {
		t.Fatalf("%q: %v", encoded, err)
	}
	for name, r := range map[string]io.Reader{
		"one octet at a time": iotest.OneByteReader(DecodeSpan([]byte(encoded), encoding)),
		"by halves":           iotest.HalfReader(DecodeSpan([]byte(encoded), encoding)),
	} {
		if again, err := io.ReadAll(r); err != nil || !bytes.Equal(again, out) {
			t.Fatalf("%q %s: got %q, %v, want %q", encoded, name, again, err, out)
		}
	}
	return string(out), d.defect()
}

func TestDecodeBase64(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want, defect string }{
		{"whole", "SGVsbG8sIHdvcmxkIQ==", "Hello, world!", ""},
		{"lines", "SGVs\r\nbG8s\r\nIHdv\r\ncmxkIQ==\r\n", "Hello, world!", ""},
		{"indented", " SGVs\n\tbG8=\n", "Hello", ""},
		{"empty", "", "", ""},
		{"blank", "\r\n\r\n", "", ""},
		{"groups across lines", "S\nGV\nsbG\n8=\n", "Hello", ""},
		{"no padding", "SGVsbG8", "Hello", DefectBadBase64},
		{"one digit too many", "SGVsbG8hA", "Hello!", DefectBadBase64},
		{"truncated", "QUJDREVGR0g", "ABCDEFGH", DefectBadBase64},
		{"junk inside", "QUJD!!REVG", "ABCDEF", DefectBadBase64},
		{"8-bit junk", "QUJD\xA0\xFFREVG", "ABCDEF", DefectBadBase64},
		{"rule after it", "QUJDREVG\n-- \nThis is a list\n", "ABCDEF", DefectBadBase64},
		{"footer after padding", "QUJDRA==\n\nThis mail was checked\n", "ABCD", DefectBadBase64},
		{"line of underscores", "QUJDREVG\n______\nlist at example\n", "ABCDEF", DefectBadBase64},
		{"pieces", "QQ==\nQg==\nQ0Q=\n", "ABCD", DefectBadBase64},
		{"pieces in a line", "QQ==Qg==", "AB", DefectBadBase64},
		{"padding alone", "====", "", ""},
	} {
		got, defect := decodeAll(t, c.in, EncodingBase64)
		if got != c.want || defect != c.defect {
			t.Errorf("%s: got %q, %q, want %q, %q", c.name, got, defect, c.want, c.defect)
		}
	}
}

func TestDecodeQuotedPrintable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want, defect string }{
		{"plain", "a b\r\nc", "a b\r\nc", ""},
		{"escapes", "=C3=bc=3D", "\xC3\xBC=", ""},
		{"soft break", "one=\r\ntwo=\nthree= \t\r\nfour", "onetwothreefour", ""},
		{"soft break of CR", "one=\rtwo", "onetwo", ""},
		{"soft break at the end", "one=", "one", ""},
		{"blanks at the end of a line", "one \t\r\ntwo  ", "one\r\ntwo", ""},
		{"blanks kept", "one \t two=20\r\n", "one \t two \r\n", ""},
		{"bad escape", "a=ZZb", "a=ZZb", DefectBadQP},
		{"bare equals", "1 = 2", "1 = 2", DefectBadQP},
		{"half an escape", "a=4", "a=4", DefectBadQP},
		{"8-bit", "a\xFFb", "a\xFFb", ""},
	} {
		got, defect := decodeAll(t, c.in, EncodingQuotedPrintable)
		if got != c.want || defect != c.defect {
			t.Errorf("%s: got %q, %q, want %q, %q", c.name, got, defect, c.want, c.defect)
		}
	}
}

func TestDecodeUuencode(t *testing.T) {
	t.Parallel()
	const file = "begin 644 a.txt\n#0V%T\n`\nend\n" // "Cat"
	for _, c := range []struct{ name, in, want, defect string }{
		{"file", file, "Cat", ""},
		{"text before", "see here\r\n" + strings.ReplaceAll(file, "\n", "\r\n"), "Cat", ""},
		{"text after", file + "bye\n", "Cat", ""},
		{"no end", "begin 644 a\n#0V%T\n", "Cat", DefectBadUuencode},
		{"cut line", "begin 644 a\n#0V\nend\n", "C`\x00", ""},
		{"none", "plain text", "plain text", DefectBadUuencode},
		{"blanks lost", "begin 644 a\n&9F]O8F%R\nend\n", "foobar", ""},
	} {
		got, defect := decodeAll(t, c.in, EncodingUuencode)
		if got != c.want || defect != c.defect {
			t.Errorf("%s: got %q, %q, want %q, %q", c.name, got, defect, c.want, c.defect)
		}
	}
}

func TestDecodeIdentity(t *testing.T) {
	t.Parallel()
	for _, encoding := range []string{EncodingIdentity, "", "what"} {
		if got, defect := decodeAll(t, "a=b\x00", encoding); got != "a=b\x00" || defect != "" {
			t.Errorf("%q: got %q, %q", encoding, got, defect)
		}
	}
}

// TestDecodeRoundTrip checks that what is well-formed comes back, and that anything is decoded without an error.
func TestDecodeRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOf(rapid.Byte()).Draw(t, "octets")
		width := rapid.IntRange(1, 80).Draw(t, "width")
		encoded := fold(base64.StdEncoding.EncodeToString(want), width)
		d := newDecoder([]byte(encoded), EncodingBase64)
		got, err := io.ReadAll(d)
		if err != nil || !bytes.Equal(got, want) || d.defect() != "" {
			t.Fatalf("base64 in lines of %d: got %q, %v, %s, want %q", width, got, err, d.defect(), want)
		}
		var qp strings.Builder
		w := quotedprintable.NewWriter(&qp)
		w.Binary = true
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		d = newDecoder([]byte(qp.String()), EncodingQuotedPrintable)
		got, err = io.ReadAll(d)
		if err != nil || !bytes.Equal(got, want) || d.defect() != "" {
			t.Fatalf("quoted-printable: got %q, %v, %s, want %q", got, err, d.defect(), want)
		}
		for _, encoding := range []string{EncodingBase64, EncodingQuotedPrintable, EncodingUuencode, EncodingIdentity} {
			out, err := io.ReadAll(DecodeSpan(want, encoding))
			if err != nil || len(out) > len(want) {
				t.Fatalf("%s of junk: got %d octets of %d, %v", encoding, len(out), len(want), err)
			}
		}
	})
}

// fold cuts s into lines.
func fold(s string, width int) string {
	var out strings.Builder
	for ; len(s) > width; s = s[width:] {
		out.WriteString(s[:width] + "\r\n")
	}
	return out.String() + s
}
