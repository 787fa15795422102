package eml

import (
	"mime"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestDecodeText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, want, defect string }{
		{"plain", "a b", "a b", ""},
		{"Q", "=?iso-8859-1?Q?gr=FC=DFe_an_=5F?=", "grüße an _", ""},
		{"B", "=?UTF-8?B?Z3LDvMOfZQ==?=", "grüße", ""},
		{"text around", "Re: =?utf-8?q?=C3=A4?= and more", "Re: ä and more", ""},
		{"blanks between words", "=?utf-8?q?a?= \t =?utf-8?q?b?=", "ab", ""},
		{"folded between words", "=?utf-8?q?a?=\r\n =?utf-8?q?b?= c", "ab c", ""},
		{"two charsets", "=?utf-8?q?=C3=A4?= =?iso-8859-1?q?=E4?=", "ää", ""},
		{"character split between Q words", "=?utf-8?q?=C3?= =?utf-8?q?=A4?=", "ä", ""},
		{"character split between B words", "=?utf-8?b?ww==?= =?utf-8?b?pA==?=", "ä", ""},
		{"group split between B words", "=?utf-8?b?Z3LDv?= =?utf-8?b?MOfZQ==?=", "grüße", ""},
		{"B, then Q", "=?utf-8?b?w?= =?utf-8?q?=A4?=", "\u00a4", DefectBadEncodedWord},
		{"language", "=?utf-8*de?q?=C3=A4?=", "ä", ""},
		{"blanks inside", "=?utf-8?q?a b =C3=A4?=", "a b ä", ""},
		{"raw octets inside", "=?utf-8?q?gr\xC3\xBC\xC3\x9Fe?=", "grüße", ""},
		{"raw octets of another charset inside", "=?utf-8?q?gr\xFC?=", "grü", DefectBadEncodedWord},
		{"stuck to text", "a=?utf-8?q?b?=c", "abc", ""},
		{"unknown charset, ASCII", "=?x-klingon?q?abc?=", "abc", DefectBadEncodedWord},
		{"unknown charset", "=?x-klingon?q?=FF=FE?=", "=?x-klingon?q?=FF=FE?=", DefectBadEncodedWord},
		{"misspelt charset", "=?uft-8?q?=C3=A4?=", "ä", ""},
		{"unknown encoding", "=?utf-8?x?abc?=", "=?utf-8?x?abc?=", DefectBadEncodedWord},
		{"no end", "=?utf-8?q?abc", "=?utf-8?q?abc", DefectBadEncodedWord},
		{"no end, then a word", "=?utf-8?q?abc =?utf-8?q?=C3=A4?=", "=?utf-8?q?abc ä", DefectBadEncodedWord},
		{"no charset", "=??q?abc?=", "=??q?abc?=", DefectBadEncodedWord},
		{"empty", "=?utf-8?q??=", "", ""},
		{"question marks", "=?utf-8?q?What=3F?= =?utf-8?q?Why??=", "What?Why?", ""},
		{"line end", "=?utf-8?q?a=0D=0Ab?=", "a b", ""},
		{"NUL", "=?utf-8?q?a=00b?=", "a\uFFFDb", ""},
		{"gb2312", "=?gb2312?B?xOO6ww==?=", "你好", ""},
		{"big5", "=?big5?B?p0Gmbg==?=", "你好", ""},
		{"shift_jis", "=?shift_jis?B?grGC8YLJgr+CzQ==?=", "こんにちは", ""},
		{"iso-2022-jp", "=?iso-2022-jp?B?GyRCJDMkcyRLJEEkTxsoQg==?=", "こんにちは", ""},
		{"iso-2022-jp, raw", "\x1b$B$3$s$K$A$O\x1b(B", "こんにちは", ""},
		{"koi8-r", "=?KOI8-R?B?8NLJ18XU?=", "Привет", ""},
		{"utf-7", "=?utf-7?q?Gr+APwA3w-e?=", "Grüße", ""},
		{"windows-1252 in latin-1", "=?iso-8859-1?q?=80=93?=", "€“", ""},
	} {
		got, defect := decodeText(c.in, "")
		if got != c.want || defect != c.defect {
			t.Errorf("%s: got %q, %q, want %q, %q", c.name, got, defect, c.want, c.defect)
		}
	}
}

// TestDecodeTextRoundTrip checks that what the standard library encodes is decoded to the same text.
func TestDecodeTextRoundTrip(t *testing.T) {
	t.Parallel()
	printable := rapid.StringOf(rapid.RuneFrom(nil, unicode.Letter, unicode.Digit, unicode.Punct, unicode.Han))
	rapid.Check(t, func(t *rapid.T) {
		want := printable.Draw(t, "text")
		if strings.Contains(want, "=?") {
			return
		}
		for _, encoder := range []mime.WordEncoder{mime.QEncoding, mime.BEncoding} {
			encoded := encoder.Encode("utf-8", want)
			if got, defect := decodeText(encoded, ""); got != want || defect != "" {
				t.Fatalf("%q: got %q, %q, want %q", encoded, got, defect, want)
			}
		}
	})
}

func TestDecodeCharset(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, in, charset, want, defect string }{
		{"none, ASCII", "abc", "", "abc", ""},
		{"none, UTF-8", "gr\xC3\xBC", "", "grü", DefectBadCharset},
		{"none, 8-bit", "gr\xFC", "", "grü", DefectBadCharset},
		{"ASCII that is not", "gr\xC3\xBC", "us-ascii", "grü", DefectBadCharset},
		{"fakescii", "gr\xFC", "fakescii", "grü", DefectBadCharset},
		{"UTF-8", "gr\xC3\xBC", "UTF-8", "grü", ""},
		{"UTF-8 in quotes", "gr\xC3\xBC", "'utf-8'", "grü", ""},
		{"UTF-8 with a mark", "\xEF\xBB\xBFa", "utf-8", "a", ""},
		{"UTF-8 that is not", "gr\xFC\xDFe", "utf-8", "grüße", DefectBadCharset},
		{"UTF-8 that was cut", "\xC3\xBC\xC3\xBC\xC3\xBC\xC3", "utf-8", "üüü\uFFFD", DefectBadCharset},
		{"misspelt", "gr\xC3\xBC", "uft-8", "grü", ""},
		{"unknown, UTF-8", "gr\xC3\xBC", "x-klingon", "grü", DefectUnknownCharset},
		{"unknown, 8-bit", "gr\xFC", "x-klingon", "grü", DefectUnknownCharset},
		{"latin-1", "\x80", "iso-8859-1", "€", ""},
		{"latin-9", "\xA4", "iso-8859-15", "€", ""},
		{"x-gbk", "\xC4\xE3\xBA\xC3", "x-gbk", "你好", ""},
		{"gb2312 that is UTF-8", "\xE4\xBD\xA0\xE5\xA5\xBD\xE5", "gb2312", "浣犲ソ\uFFFD", DefectBadCharset},
		{"ks_c_5601", "\xBE\xC8\xB3\xE7", "ks_c_5601-1987", "안녕", ""},
		{"cp1251", "\xCF\xF0", "cp1251", "Пр", ""},
		{"win-1250", "\x9A", "win-1250", "š", ""},
		{"cp850", "\x81", "cp850", "ü", ""},
		{"utf-16le", "a\x00\xFC\x00", "utf-16le", "aü", ""},
		{"utf-16 with a mark", "\xFF\xFEa\x00", "utf-16", "a", ""},
		{"utf-7", "Hi+ACE- 1+-1 +- x", "utf-7", "Hi! 1+1 + x", ""},
		{"utf-7 beyond 16 bits", "+2D3eAA-", "utf-7", "😀", ""},
		{"replacement", "abc", "replacement", "abc", DefectUnknownCharset},
		{"iso-2022-kr", "abc", "iso-2022-kr", "abc", DefectUnknownCharset},
	} {
		got, defect := decodeCharset([]byte(c.in), c.charset)
		if got != c.want || defect != c.defect {
			t.Errorf("%s: got %q, %q, want %q, %q", c.name, got, defect, c.want, c.defect)
		}
	}
}
