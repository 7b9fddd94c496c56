// Signing in and out, and a form that is sent once. The pages do without this file, but for signing in: a token belongs neither into an address
// nor into a form that a page without it would send.
"use strict";

(() => {
  const session = "/api/v1/session";
  const say = (text) => {
    const at = document.getElementById("login-status");
    if (at) at.textContent = text;
  };

  async function signIn(what) {
    say("Signing in…");
    let answer;
    try {
      answer = await fetch(session, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(what) });
    } catch {
      say("The server does not answer.");
      return;
    }
    if (answer.ok) {
      location.replace("/");
      return;
    }
    let problem = {};
    try {
      problem = await answer.json();
    } catch {
      // It is not ours: the status has to do.
    }
    say([problem.detail || "Signing in failed (" + answer.status + ")", problem.hint].filter(Boolean).join(". "));
  }

  const form = document.getElementById("login");
  if (form) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const field = form.querySelector("#token");
      const token = field.value.trim();
      field.value = "";
      signIn({ token });
    });
    // A login link has its code behind the #, which no browser sends anywhere. It is taken out of the address before it is used.
    const follow = () => {
      const code = location.hash.slice(1);
      if (code.length < 16) return;
      history.replaceState(null, "", location.pathname);
      signIn({ code });
    };
    addEventListener("hashchange", follow);
    follow();
  }

  document.addEventListener("click", async (event) => {
    if (!event.target.closest("[data-logout]")) return;
    await fetch(session, { method: "DELETE" });
    location.replace("/login");
  });

  document.addEventListener("submit", (event) => {
    const once = event.target.closest("form[data-once]");
    if (!once) return;
    if (once.dataset.sent) {
      event.preventDefault();
      return;
    }
    once.dataset.sent = "yes";
    for (const button of once.querySelectorAll("button[type=submit]")) button.setAttribute("aria-disabled", "true");
  });
  // A page that the back button brings back from memory may be sent again.
  addEventListener("pageshow", () => {
    for (const once of document.querySelectorAll("form[data-sent]")) {
      delete once.dataset.sent;
      for (const button of once.querySelectorAll("[aria-disabled]")) button.removeAttribute("aria-disabled");
    }
  });

  // When a job has ended its page is made anew; whoever listens is told what it came to.
  document.addEventListener("htmx:after:swap", () => {
    const verdict = document.querySelector("#job:not([hx-get]) #verdict");
    if (verdict && document.activeElement === document.body) verdict.focus({ preventScroll: true });
  });
})();
