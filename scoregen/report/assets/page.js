// One 3Dmol viewer for each molecule: all conformers overlaid, or one of them.
"use strict";
(function () {
  const TINTS = ["#199e94", "#e0606f", "#4b86d6", "#d9a12b", "#9a6cc0", "#63a84c", "#cf7144", "#7f93a8"];
  const molecules = JSON.parse(document.getElementById("molecules").textContent);

  function background() {
    return getComputedStyle(document.documentElement).getPropertyValue("--stage").trim();
  }

  function draw(viewer, models, state) {
    viewer.setStyle({}, {});
    models.forEach((model, i) => {
      const shown = state.only === null || state.only === i;
      const heavy = { not: { elem: "H" } };
      if (!shown) return;
      const carbons = state.only === null ? TINTS[i % TINTS.length] : "#7d8894";
      const scheme = { prop: "elem", map: Object.assign({}, $3Dmol.elementColors.rasmol, { C: carbons, H: "#dfe3e8" }) };
      const thin = state.only === null;
      model.setStyle({}, {});
      model.setStyle(heavy, { stick: { radius: thin ? 0.1 : 0.16, colorscheme: scheme } });
      if (state.hydrogens) {
        model.setStyle({ elem: "H" }, { stick: { radius: thin ? 0.05 : 0.1, colorscheme: scheme } });
      }
    });
    viewer.render();
  }

  function start(card, molecule) {
    const stage = card.querySelector(".stage");
    const state = { only: null, hydrogens: false };
    let viewer, models;
    try {
      viewer = $3Dmol.createViewer(stage, { backgroundColor: background(), antialias: true });
      models = molecule.blocks.map((block) => viewer.addModel(block, "sdf", { keepH: true }));
      draw(viewer, models, state);
      viewer.zoomTo();
      viewer.zoom(1.15);
      viewer.render();
    } catch (error) {
      stage.innerHTML = "<div class='missing'>This browser shows no WebGL, so the 3D view is off; the SDF beside this page holds the coordinates.</div>";
      return;
    }
    card.querySelectorAll("button").forEach((button) => {
      button.addEventListener("click", () => {
        const what = button.dataset.show;
        if (what === "hydrogens") state.hydrogens = !state.hydrogens;
        else state.only = what === "all" ? null : Number(what);
        card.querySelectorAll("button").forEach((other) => {
          const mine = other.dataset.show;
          const on = mine === "hydrogens" ? state.hydrogens : mine === (state.only === null ? "all" : String(state.only));
          other.setAttribute("aria-pressed", String(on));
        });
        draw(viewer, models, state);
      });
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      viewer.setBackgroundColor(background());
      viewer.render();
    });
    stage.dataset.ready = String(models.length);
  }

  document.querySelectorAll("[data-molecule]").forEach((card) => {
    start(card, molecules[Number(card.dataset.molecule)]);
  });

  // One player at a time.
  document.addEventListener("play", (event) => {
    document.querySelectorAll("audio").forEach((audio) => { if (audio !== event.target) audio.pause(); });
  }, true);
})();
