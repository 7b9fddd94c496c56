package plain

import (
	"encoding/json"
	"testing"
)

func TestWhatIsNotPrintedIsSeen(t *testing.T) {
	for in, want := range map[string][2]string{
		"bot": {"bot", "bot"}, "": {"", ""}, "größe 日本 עברית": {"größe 日本 עברית", "größe 日本 עברית"},
		"a\x1b[2Jb": {`a\x1b[2Jb`, `a\x1b[2Jb`}, "a\u202egnp": {`a\u202egnp`, `a\u202egnp`}, "a\u2066b\u2069": {`a\u2066b\u2069`, `a\u2066b\u2069`},
		"one\n\ttwo": {`one\n\ttwo`, "one\n\ttwo"}, "one\r\ntwo\rthree": {`one\r\ntwo\rthree`, "one\ntwo\\rthree"}, "a\xffb": {`a\xffb`, `a\xffb`}, "a\u200bb": {`a\u200bb`, `a\u200bb`}, "\ufffd": {"\ufffd", "\ufffd"},
		"a\U000e0041": {`a\U000e0041`, `a\U000e0041`},
	} {
		if got := Line(in); got != want[0] {
			t.Errorf("Line %q: %q", in, got)
		}
		if got := Text(in); got != want[1] {
			t.Errorf("Text %q: %q", in, got)
		}
	}
}

func TestJSONMeansTheSame(t *testing.T) {
	in := map[string]string{"name": "a\u202eb\U000e0041\u009bc"}
	doc, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	got := JSON(doc)
	if want := `{"name":"a\u202eb\udb40\udc41\u009bc"}`; string(got) != want {
		t.Errorf("%s", got)
	}
	var back map[string]string
	if err := json.Unmarshal(got, &back); err != nil || back["name"] != in["name"] {
		t.Errorf("%q %v", back, err)
	}
}
