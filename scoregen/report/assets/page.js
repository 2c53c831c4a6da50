// Molecules in 3D, sorting of candidates, one player at a time.
"use strict";
(function () {
  const TINTS = ["#199e94", "#e0606f", "#4b86d6", "#d9a12b", "#9a6cc0", "#63a84c", "#cf7144", "#7f93a8"];
  const PLAIN = "#7d8894";
  // Browsers keep 16 WebGL contexts. Viewers are made once and handed from card to card.
  const LIVE = 12;
  const molecules = JSON.parse(document.getElementById("molecules").textContent);
  const pool = [];

  function background() {
    return getComputedStyle(document.documentElement).getPropertyValue("--stage").trim();
  }

  function colours(carbon) {
    const map = Object.assign({}, $3Dmol.elementColors.rasmol, { C: carbon, H: "#dfe3e8", F: "#86d15a" });
    return { prop: "elem", map: map };
  }

  function draw(viewer, models, molecule, state) {
    viewer.setStyle({}, {});
    models.forEach((model, i) => {
      const shown = state.only === null || state.only === i;
      if (!shown) return;
      const thin = state.only === null;
      const scheme = colours(thin ? TINTS[i % TINTS.length] : PLAIN);
      model.setStyle({}, {});
      model.setStyle({ not: { elem: "H" } }, { stick: { radius: thin ? 0.1 : 0.16, colorscheme: scheme } });
      if (molecule.kept.length) {
        model.setStyle({ index: molecule.kept }, { stick: { radius: 0.16, colorscheme: colours(TINTS[0]) } });
      }
      if (state.hydrogens) {
        model.setStyle({ elem: "H" }, { stick: { radius: thin ? 0.05 : 0.1, colorscheme: scheme } });
      }
    });
    viewer.render();
  }

  // A viewer that no card in sight needs, else the one longest in use.
  function borrow(stage) {
    let slot = null;
    if (pool.length < LIVE) {
      const element = document.createElement("div");
      element.className = "viewer";
      stage.append(element);
      slot = { element: element, owner: null };
      slot.viewer = $3Dmol.createViewer(element, { backgroundColor: background(), antialias: true });
    } else {
      const at = pool.findIndex((other) => !other.owner.inSight);
      slot = pool.splice(Math.max(at, 0), 1)[0];
      slot.owner.giveUp();
      stage.append(slot.element);
      slot.viewer.removeAllModels();
    }
    pool.push(slot);
    return slot;
  }

  function view(card) {
    const stage = card.querySelector(".stage");
    const molecule = molecules[Number(card.dataset.molecule)];
    const single = molecule.blocks.length === 1;
    const state = { only: single ? 0 : null, hydrogens: false };
    let slot = null, models = [], pose = null, failed = false;
    const self = { inSight: false };

    self.show = function () {
      if (slot || failed) return;
      try {
        slot = borrow(stage);
        slot.owner = self;
        models = molecule.blocks.map((block) => slot.viewer.addModel(block, "sdf", { keepH: true }));
        slot.viewer.resize();
        draw(slot.viewer, models, molecule, state);
        if (pose) {
          slot.viewer.setView(pose);
        } else {
          slot.viewer.zoomTo();
          slot.viewer.zoom(1.15);
        }
        slot.viewer.render();
        stage.querySelectorAll("img").forEach((still) => still.remove());
        stage.dataset.ready = String(models.length);
      } catch (error) {
        failed = true;
        stage.innerHTML = "<div class='missing'>This browser shows no WebGL, so the 3D view is off; the SDF beside this page holds the coordinates.</div>";
      }
    };

    // Leaves a picture behind; the next touch makes it live again.
    self.giveUp = function () {
      const still = document.createElement("img");
      still.alt = "";
      still.src = slot.viewer.pngURI();
      stage.append(still);
      pose = slot.viewer.getView();
      slot = null;
      delete stage.dataset.ready;
    };

    stage.addEventListener("pointerenter", self.show);
    card.querySelectorAll("button[data-show]").forEach((button) => {
      button.addEventListener("click", () => {
        const what = button.dataset.show;
        if (what === "hydrogens") state.hydrogens = !state.hydrogens;
        else state.only = what === "all" ? null : Number(what);
        card.querySelectorAll("button[data-show]").forEach((other) => {
          const mine = other.dataset.show;
          const on = mine === "hydrogens" ? state.hydrogens : mine === (state.only === null ? "all" : String(state.only));
          other.setAttribute("aria-pressed", String(on));
        });
        self.show();
        if (slot) draw(slot.viewer, models, molecule, state);
      });
    });
    return self;
  }

  const cards = [...document.querySelectorAll("[data-molecule]")];
  const views = new Map(cards.map((card) => [card, view(card)]));
  if (cards.length <= LIVE) {
    views.forEach((one) => { one.inSight = true; one.show(); });
  } else {
    // Many: a view comes up when its card is scrolled near.
    const observer = new IntersectionObserver((entries) => {
      entries.forEach((entry) => { views.get(entry.target).inSight = entry.isIntersecting; });
      entries.forEach((entry) => { if (entry.isIntersecting) views.get(entry.target).show(); });
    }, { rootMargin: "100px" });
    cards.forEach((card) => observer.observe(card));
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    pool.forEach((slot) => {
      slot.viewer.setBackgroundColor(background());
      slot.viewer.render();
    });
  });

  // Sorting: a second click on the same value turns the order round. Cards without the value come last.
  document.querySelectorAll(".sortbar").forEach((bar) => {
    const grid = bar.nextElementSibling;
    const items = [...grid.children];
    const values = new Map(items.map((card) => [card, JSON.parse(card.dataset.order)]));
    const sorters = [...bar.querySelectorAll("[data-sort]")];
    const count = bar.querySelector(".count");

    function sort(button) {
      const key = button.dataset.sort;
      const again = button.getAttribute("aria-pressed") === "true" && key;
      const first = again ? (button.dataset.now === "high" ? "low" : "high") : button.dataset.first;
      sorters.forEach((other) => {
        other.setAttribute("aria-pressed", String(other === button));
        delete other.dataset.now;
      });
      if (key) button.dataset.now = first;
      const sign = first === "high" ? -1 : 1;
      const sorted = [...items];
      if (key) {
        sorted.sort((a, b) => {
          const x = values.get(a)[key], y = values.get(b)[key];
          if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
          return sign * (x - y);
        });
      }
      grid.append(...sorted);
    }

    sorters.forEach((button) => button.addEventListener("click", () => sort(button)));
    const hide = bar.querySelector("[data-hide]");
    if (hide) {
      hide.addEventListener("click", () => {
        const on = hide.getAttribute("aria-pressed") !== "true";
        hide.setAttribute("aria-pressed", String(on));
        items.forEach((card) => { card.hidden = on && card.dataset.alerts !== "0"; });
        count.textContent = items.filter((card) => !card.hidden).length + " shown";
      });
    }
  });

  // One player at a time.
  document.addEventListener("play", (event) => {
    document.querySelectorAll("audio").forEach((audio) => { if (audio !== event.target) audio.pause(); });
  }, true);
})();
