/** Missions and campaigns: what there is to do, what it pays, how far one is. */

import { at, make } from "../lib/dom.js";
import { formatCount, formatMoment, formatPoints, formatSeconds } from "../lib/format.js";

const PERIODS = { daily: "Every day", weekly: "Every week", once: "Once" };

/**
 * A task as the list shows it; `path` is where it is claimed.
 * @typedef {{path: string, title: string, summary: string, facts: string[], isDone: boolean,
 *   isReady: boolean, needsWord: boolean}} Task
 */

/**
 * @param {object[]} missions of GET /v1/missions @param {object[]} campaigns of GET /v1/campaigns
 * @param {(task: Task, word: string) => void} claim
 */
export function showTasks(missions, campaigns, claim) {
  const list = at("missions");
  const shown = JSON.stringify([missions, campaigns]);
  // Building it anew would take the focus from whoever is in it.
  if (list.dataset.shown === shown) return;
  list.dataset.shown = shown;
  const tasks = [
    ...campaigns.flatMap((campaign) => campaign.tasks.map((task) => ofCampaign(campaign, task))),
    ...missions.map(ofMission),
  ];
  const items = tasks.map((task) => makeItem(task, claim));
  list.replaceChildren(...(items.length ? items : [make("li", {}, "None at the moment.")]));
}

/** @returns {Task} */
function ofMission(mission) {
  return {
    path: `/v1/account/missions/${mission.name}`,
    title: mission.title,
    summary: mission.summary,
    facts: [PERIODS[mission.period], describeReward(mission), describeProgress(mission)],
    isDone: mission.own.is_claimed,
    isReady: mission.own.is_met,
    needsWord: mission.measure === "code",
  };
}

/** @returns {Task} */
function ofCampaign(campaign, task) {
  const left = Math.max(0, campaign.budget - campaign.spent);
  return {
    path: `/v1/account/campaigns/${campaign.name}/${task.name}`,
    title: `${campaign.title}: ${task.title}`,
    summary: task.summary,
    facts: [
      describeReward(task),
      `until ${formatMoment(campaign.closes_ms)}`,
      `${formatCount(left, "ticket")} left`,
    ],
    isDone: task.is_claimed,
    // How far one is with it, the service says when it is claimed.
    isReady: left > 0,
    needsWord: task.measure === "code",
  };
}

function makeItem(task, claim) {
  const facts = task.facts.filter(Boolean).join(" · ");
  const what = make(
    "div",
    { class: "what" },
    make("b", {}, task.title),
    make("p", { class: "muted" }, task.summary),
    make("p", { class: "muted" }, facts),
  );
  if (task.isDone) return make("li", {}, what, make("span", { class: "amount" }, "Done ✓"));
  const form = make("form", { class: task.needsWord ? "claim joined with-code" : "claim" });
  const word = make("input", {
    "aria-label": `Word for ${task.title}`,
    placeholder: "Word",
    autocomplete: "off",
    maxlength: "64",
    required: "",
  });
  if (task.needsWord) form.append(word);
  const button = make("button", { type: "submit", "aria-label": `Claim ${task.title}` }, "Claim");
  button.disabled = !task.isReady && !task.needsWord;
  form.append(button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    claim(task, task.needsWord ? word.value.trim() : "");
  });
  return make("li", {}, what, form);
}

function describeReward({ units, tickets }) {
  const rewards = [];
  if (units) rewards.push(`${formatPoints(units)} points`);
  if (tickets) rewards.push(formatCount(tickets, "ticket"));
  return rewards.join(" and ");
}

function describeProgress({ measure, least, own }) {
  if (measure.endsWith("_s")) {
    return `${formatSeconds(Math.min(own.reached, least))} of ${formatSeconds(least)}`;
  }
  return least > 1 ? `${Math.min(own.reached, least)} of ${least}` : "";
}
