'use strict';
(function () {
  const $ = (id) => document.getElementById(id);
  const form = $('filter'), query = $('q'), verdict = $('v'), decision = $('d'), direct = $('x'), shown = $('shown');
  const tree = document.querySelector('.tree');

  // What is looked through is gathered when it is first needed: in a large report that takes a moment.
  let items = null, byID, blocks, groups, folds, lines, above, about;
  function gather() {
    if (items) return;
    items = Array.from(document.querySelectorAll('.p'), (el) => ({
      el, v: el.dataset.v, d: el.dataset.d, x: 'x' in el.dataset, text: '', match: true,
    }));
    byID = new Map(items.map((item) => [item.el.lastElementChild.id, item]));
    const of = new Map(items.map((item) => [item.el, item]));
    const boxes = (selector) => Array.from(document.querySelectorAll(selector), (el) => (
      { el, items: Array.from(el.querySelectorAll('.p'), (p) => of.get(p)) }));
    blocks = boxes('.block');
    groups = boxes('.group');
    for (const g of groups) { g.n = g.el.querySelector('h2 .n'); g.all = g.n.textContent; }
    folds = boxes('.fold');
    // The tree: every line knows the line above it, and the package that it is about.
    lines = tree ? Array.from(tree.querySelectorAll('li')) : [];
    const place = new Map(lines.map((li, i) => [li, i]));
    above = lines.map((li) => { const up = li.parentElement.closest('li'); return up ? place.get(up) : -1; });
    about = lines.map((li) => {
      const a = li.firstElementChild;
      return a && a.localName === 'a' ? byID.get(a.hash.slice(1)) : null;
    });
  }

  // The words that a package can be found by: those on its line and, of its details, all but the checks.
  function textOf(item) {
    if (!item.text) {
      let text = item.el.firstElementChild.textContent;
      for (const part of item.el.lastElementChild.children) {
        if (part.localName !== 'table' && part.className !== 'more') text += ' ' + part.textContent;
      }
      item.text = text.toLowerCase();
    }
    return item.text;
  }

  let filtered = false;
  function apply() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const active = words.length > 0 || verdict.value !== '' || decision.value !== '' || direct.checked;
    if (!active && !filtered) return;
    gather();
    let n = 0;
    for (const item of items) {
      item.match = (!verdict.value || item.v === verdict.value) && (!decision.value || item.d === decision.value) &&
        (!direct.checked || item.x) && words.every((w) => textOf(item).includes(w));
      if (item.match) n++;
      item.el.hidden = !item.match;
    }
    for (const b of blocks) b.el.hidden = !b.items.some((i) => i.match);
    for (const g of groups) {
      const k = g.items.filter((i) => i.match).length;
      g.el.hidden = k === 0;
      g.n.textContent = active ? k.toLocaleString('en') + ' of ' + g.all : g.all;
    }
    for (const f of folds) {
      if (active && !filtered) f.open = f.el.open;
      f.el.open = active ? f.items.some((i) => i.match) : f.open;
    }
    filterTree(active);
    filtered = active;
    const total = shown.dataset.total;
    shown.textContent = !active ? 'All ' + total + ' are shown.' : n === 0 ? 'Nothing is like that.' : n.toLocaleString('en') + ' of ' + total + ' are shown.';
  }

  const opened = new Set();
  function filterTree(active) {
    const show = new Uint8Array(lines.length), deep = new Uint8Array(lines.length);
    for (let i = lines.length - 1; i >= 0; i--) {
      if (!active || (about[i] && about[i].match)) show[i] = 1;
      if (show[i] && above[i] >= 0) show[above[i]] = deep[above[i]] = 1;
    }
    lines.forEach((li, i) => {
      li.hidden = !show[i];
      const d = box(li);
      if (d && active && deep[i] && !d.open) { d.open = true; opened.add(d); }
    });
    if (!active) {
      for (const d of opened) d.open = false;
      opened.clear();
    }
  }

  let waiting = 0;
  query.addEventListener('input', () => { clearTimeout(waiting); waiting = setTimeout(apply, 120); });
  for (const el of [verdict, decision, direct]) el.addEventListener('change', apply);
  form.addEventListener('reset', () => setTimeout(apply));
  form.addEventListener('submit', (e) => { e.preventDefault(); clearTimeout(waiting); apply(); });
  document.addEventListener('keydown', (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey) return;
    if (e.key === '/' && !/^(input|select|textarea)$/.test(e.target.localName)) { e.preventDefault(); query.focus(); }
    if (e.key === 'Escape' && e.target === query && query.value) { e.preventDefault(); query.value = ''; apply(); }
  });
  form.hidden = false;
  shown.textContent = 'All ' + shown.dataset.total + ' are shown.';

  // Rows that packages have in common come to the package that is looked at, in their order.
  function complete(el) {
    const more = el.querySelector('.more');
    const from = more && !more.hidden && $(more.firstElementChild.hash.slice(1));
    if (!from) return;
    let table = el.querySelector('.matrix');
    const rows = Array.from(from.tBodies[0].rows, (r) => r.cloneNode(true));
    if (table) {
      rows.push(...table.tBodies[0].rows);
      rows.sort((a, b) => a.dataset.n - b.dataset.n);
    } else {
      table = from.cloneNode(true);
      table.removeAttribute('id');
      more.before(table);
    }
    table.tBodies[0].replaceChildren(...rows);
    more.hidden = true;
  }
  document.addEventListener('toggle', (e) => {
    if (e.target.open && e.target.className === 'p') complete(e.target);
  }, true);
  for (const el of document.querySelectorAll('.p[open]')) complete(el);

  // A link to a package opens it, and what it is folded into; a filter that hides it is given up.
  function reveal() {
    const el = location.hash.length > 1 && $(decodeURIComponent(location.hash.slice(1)));
    if (!el) return;
    const item = el.className === 'd';
    if (item && el.parentElement.hidden) { form.reset(); apply(); }
    for (let d = el.closest('details'); d; d = d.parentElement.closest('details')) d.open = true;
    const to = item ? el.previousElementSibling : el;
    if (item) to.focus({ preventScroll: true });
    to.scrollIntoView({ block: 'start' });
    // A browser that is busy looks for the fragment itself only at its next frame, and then takes the focus away.
    if (item) requestAnimationFrame(() => requestAnimationFrame(() => {
      if (document.activeElement === document.body) to.focus({ preventScroll: true });
    }));
  }
  addEventListener('hashchange', reveal);
  document.addEventListener('click', (e) => { // the same link a second time changes nothing
    const a = e.target.closest('a');
    if (a && a.hash && a.hash === location.hash && a.pathname === location.pathname) setTimeout(reveal);
  });
  reveal();

  // The tree by keyboard: what takes the focus on a line is its box, or the link where nothing stands below.
  function box(li) {
    const last = li.lastElementChild;
    return last && last.localName === 'details' ? last : null;
  }
  function handle(li) {
    const d = box(li), first = li.firstElementChild;
    return d ? d.firstElementChild : first && first.localName === 'a' ? first : null;
  }
  const under = (d) => Array.from(d.lastElementChild.children).filter((li) => !li.hidden && handle(li));
  const upper = (li) => li.parentElement.closest('li');
  function beside(li, step) {
    for (let x = li; (x = step > 0 ? x.nextElementSibling : x.previousElementSibling);) if (!x.hidden && handle(x)) return x;
    return null;
  }
  function next(li) {
    const d = box(li);
    if (d && d.open && under(d).length) return under(d)[0];
    for (let x = li; x; x = upper(x)) { const y = beside(x, 1); if (y) return y; }
    return null;
  }
  function lowest(li) {
    for (let d = box(li); d && d.open && under(d).length; d = box(li)) li = under(d).at(-1);
    return li;
  }
  function previous(li) {
    const x = beside(li, -1);
    return x ? lowest(x) : upper(li);
  }
  if (!tree) return;
  $('treekeys').hidden = false;
  const all = (open) => { for (const d of tree.querySelectorAll('details')) d.open = open; };
  $('openall').addEventListener('click', () => all(true));
  $('closeall').addEventListener('click', () => all(false));
  tree.addEventListener('keydown', (e) => {
    const li = e.target.closest('li');
    if (!li || e.ctrlKey || e.metaKey || e.altKey || e.shiftKey) return;
    const d = box(li);
    let to = null;
    switch (e.key) {
      case 'ArrowDown': to = next(li); break;
      case 'ArrowUp': to = previous(li); break;
      case 'Home': to = tree.firstElementChild; break;
      case 'End': to = lowest(tree.lastElementChild); break;
      case 'ArrowRight':
        if (!d) return;
        if (d.open) to = under(d)[0]; else d.open = true;
        break;
      case 'ArrowLeft':
        if (d && d.open) { d.open = false; to = li; } else to = upper(li);
        break;
      default: return;
    }
    e.preventDefault();
    if (to) handle(to).focus();
  });
})();
