// What is wrong with how a report page looks; empty where nothing is. Run by the browser test in the page.
() => {
  const SLACK_X = 2; // letters may touch
  const SLACK_Y = 4; // boxes of lines hold room above and below the letters
  const wrong = [];

  // not hidden, not transparent, and not in a closed <details>
  const shown = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true });

  const boxes = [];
  const add = (text, rectangle, area) => {
    if (text.trim() && rectangle.width > 1 && rectangle.height > 1) boxes.push({ text: text.trim().slice(0, 40), rectangle, area });
  };
  for (const text of document.querySelectorAll("svg text")) {
    const area = text.closest(".area");
    if (shown(text)) add(text.textContent, text.getBoundingClientRect(), area ? area.id : "");
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest("svg, script, style, noscript") || !shown(parent)) continue;
    const box = parent.closest(".scroll");
    const frame = box ? box.getBoundingClientRect() : null;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rectangle of range.getClientRects()) {
      if (frame && (rectangle.left >= frame.right || rectangle.right <= frame.left)) continue; // scrolled out of its box
      add(node.data, rectangle, "");
    }
  }

  boxes.sort((a, b) => a.rectangle.top - b.rectangle.top);
  boxes.forEach((one, index) => {
    for (const other of boxes.slice(index + 1)) {
      if (other.rectangle.top > one.rectangle.bottom - SLACK_Y) break;
      const across = Math.min(one.rectangle.right, other.rectangle.right) - Math.max(one.rectangle.left, other.rectangle.left);
      const down = Math.min(one.rectangle.bottom, other.rectangle.bottom) - Math.max(one.rectangle.top, other.rectangle.top);
      if (across > SLACK_X && down > SLACK_Y) wrong.push(`text overlaps: "${one.text}" and "${other.text}" ${one.area}`);
    }
  });

  for (const { text, rectangle, area } of boxes.filter((box) => box.area)) {
    const frame = document.getElementById(area).getBoundingClientRect();
    const out = Math.max(frame.left - rectangle.left, rectangle.right - frame.right, frame.top - rectangle.top, rectangle.bottom - frame.bottom);
    if (out > 1) wrong.push(`text leaves its plot by ${Math.round(out)} pixels: "${text}" in ${area}`);
  }

  for (const script of document.querySelectorAll("script[data-figure]")) {
    const area = document.getElementById(script.dataset.figure);
    const marks = [...area.querySelectorAll("svg .trace path, svg .trace .point, svg .trace .js-line")];
    const drawn = marks.filter((mark) => mark.getBoundingClientRect().width + mark.getBoundingClientRect().height > 1);
    if (!drawn.length) wrong.push(`plot without marks: ${script.dataset.figure}`);
  }

  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) wrong.push(`the page is ${root.scrollWidth} pixels wide in a window of ${root.clientWidth}`);
  return wrong;
};
